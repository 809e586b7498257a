// Private endpoints of the storage account, one for each of its services.

@description('What the names begin with.')
param name string

@description('Region of the endpoints.')
param location string

@description('Tags of everything that is made here.')
param tags object

@description('Resource id of the storage account.')
param storageId string

@description('Subnet that the endpoints are in.')
param subnetId string

@description('Private DNS zone of the blob service.')
param blobZoneId string

@description('Private DNS zone of the queue service.')
param queueZoneId string

var services = [
  {
    name: 'blob'
    zoneId: blobZoneId
  }
  {
    name: 'queue'
    zoneId: queueZoneId
  }
]

resource endpoints 'Microsoft.Network/privateEndpoints@2023-11-01' = [for service in services: {
  name: '${name}-${service.name}'
  location: location
  tags: tags
  properties: {
    subnet: {
      id: subnetId
    }
    privateLinkServiceConnections: [
      {
        name: service.name
        properties: {
          privateLinkServiceId: storageId
          groupIds: [
            service.name
          ]
        }
      }
    ]
  }
}]

resource groups 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2023-11-01' = [for (service, i) in services: {
  parent: endpoints[i]
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [
      {
        name: service.name
        properties: {
          privateDnsZoneId: service.zoneId
        }
      }
    ]
  }
}]
