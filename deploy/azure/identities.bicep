// Who does what. Each part has an identity of its own, so that each can have the least rights.

@description('What the names of all identities begin with.')
param name string

@description('Region of the identities.')
param location string

@description('Tags of everything that is made here.')
param tags object

@description('Whether there is a webhook.')
param hasWebhook bool

resource webhook 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = if (hasWebhook) {
  name: '${name}-webhook'
  location: location
  tags: tags
}

resource consumer 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: '${name}-consumer'
  location: location
  tags: tags
}

resource checker 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: '${name}-checker'
  location: location
  tags: tags
}

resource events 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: '${name}-events'
  location: location
  tags: tags
}

resource keys 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: '${name}-keys'
  location: location
  tags: tags
}

output webhookId string = hasWebhook ? webhook.id : ''
output webhookClientId string = hasWebhook ? webhook.properties.clientId : ''
output webhookPrincipalId string = hasWebhook ? webhook.properties.principalId : ''
output consumerId string = consumer.id
output consumerClientId string = consumer.properties.clientId
output consumerPrincipalId string = consumer.properties.principalId
output checkerId string = checker.id
output checkerClientId string = checker.properties.clientId
output checkerPrincipalId string = checker.properties.principalId
output eventsId string = events.id
output eventsPrincipalId string = events.properties.principalId
output keysId string = keys.id
output keysPrincipalId string = keys.properties.principalId
