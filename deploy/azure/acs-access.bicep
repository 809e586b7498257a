// The consumer asks ACS with tokens. There is no smaller role that reads and deletes media.

@description('Azure Communication Services resource, in the resource group of this module.')
param acsName string

@description('Principal of the consumer.')
param consumerPrincipalId string

var roles = {
  communicationAndEmailServiceOwner: '09976791-48a7-449e-bb21-39d1a415f350'
}

resource acs 'Microsoft.Communication/communicationServices@2023-04-01' existing = {
  name: acsName
}

resource asks 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(acs.id, consumerPrincipalId, roles.communicationAndEmailServiceOwner)
  scope: acs
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.communicationAndEmailServiceOwner)
    principalId: consumerPrincipalId
    principalType: 'ServicePrincipal'
  }
}
