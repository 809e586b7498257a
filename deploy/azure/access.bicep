// What identities may do beside the storage account: pull the image, read the one secret, use
// the account's key. Everything named here exists already, in the same resource group.

@description('Azure Container Registry that holds the image; empty: anybody may pull it.')
param registryName string

@description('Key Vault that holds the secret and the key; empty: neither is used.')
param keyVaultName string

@description('Secret with the connection string of ACS; empty: ACS is asked with tokens.')
param acsSecretName string

@description('Key that the storage account is encrypted with; empty: one of Microsoft.')
param encryptionKeyName string

@description('Principals that pull the image; an empty one keeps the place of what is not made.')
param pullerPrincipalIds array

@description('Principal of the consumer, which alone reads the secret.')
param consumerPrincipalId string

@description('Principal by which the storage account uses its key.')
param keysPrincipalId string

var roles = {
  acrPull: '7f951dda-4ed3-4680-a7ca-43fe172d538d'
  keyVaultSecretsUser: '4633458b-17de-408a-b874-0445c86b69e6'
  keyVaultCryptoServiceEncryptionUser: 'e147488a-f6f5-4113-8e2d-b22465e65bf6'
}

resource registry 'Microsoft.ContainerRegistry/registries@2023-07-01' existing = if (!empty(registryName)) {
  name: empty(registryName) ? 'none' : registryName
}

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' existing = if (!empty(keyVaultName)) {
  name: empty(keyVaultName) ? 'none' : keyVaultName
}

resource secret 'Microsoft.KeyVault/vaults/secrets@2023-07-01' existing = if (!empty(acsSecretName)) {
  parent: vault
  name: empty(acsSecretName) ? 'none' : acsSecretName
}

resource key 'Microsoft.KeyVault/vaults/keys@2023-07-01' existing = if (!empty(encryptionKeyName)) {
  parent: vault
  name: empty(encryptionKeyName) ? 'none' : encryptionKeyName
}

resource pulls 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (principalId, i) in pullerPrincipalIds: if (!empty(registryName) && !empty(principalId)) {
  name: guid(resourceGroup().id, registryName, principalId, string(i))
  scope: registry
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.acrPull)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}]

resource readsSecret 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(acsSecretName)) {
  name: guid(resourceGroup().id, keyVaultName, acsSecretName, consumerPrincipalId)
  scope: secret
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.keyVaultSecretsUser)
    principalId: consumerPrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource usesKey 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(encryptionKeyName)) {
  name: guid(resourceGroup().id, keyVaultName, encryptionKeyName, keysPrincipalId)
  scope: key
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.keyVaultCryptoServiceEncryptionUser)
    principalId: keysPrincipalId
    principalType: 'ServicePrincipal'
  }
}

output registryServer string = empty(registryName) ? '' : registry.properties.loginServer
output vaultUri string = empty(keyVaultName) ? '' : vault.properties.vaultUri
