// Where the apps run, and where their logs go.

@description('What the names begin with.')
param name string

@description('Region of the environment.')
param location string

@description('Tags of everything that is made here.')
param tags object

@description('Days for which logs are kept. They name calls and recordings, and nobody who took part.')
@minValue(30)
@maxValue(730)
param logDays int

@description('Subnet of the apps; empty: a network of the platform.')
param subnetId string

@description('Whether replicas are spread over zones; needs a subnet.')
param zoneRedundant bool

resource workspace 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: '${name}-logs'
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: logDays
  }
}

resource apps 'Microsoft.App/managedEnvironments@2025-01-01' = {
  name: '${name}-apps'
  location: location
  tags: tags
  properties: {
    appLogsConfiguration: {
      destination: 'log-analytics'
      logAnalyticsConfiguration: {
        customerId: workspace.properties.customerId
        sharedKey: workspace.listKeys().primarySharedKey
      }
    }
    vnetConfiguration: empty(subnetId) ? null : {
      infrastructureSubnetId: subnetId
      internal: false
    }
    workloadProfiles: [
      {
        name: 'Consumption'
        workloadProfileType: 'Consumption'
      }
    ]
    zoneRedundant: zoneRedundant && !empty(subnetId)
  }
}

output environmentId string = apps.id
output workspaceId string = workspace.id
