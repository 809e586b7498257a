// One account for archive, queues and Event Grid's dead letters. No key of it can be used.

@description('Name of the account.')
@minLength(3)
@maxLength(24)
param accountName string

@description('Region of the account.')
param location string

@description('Tags of everything that is made here.')
param tags object

@description('How often, and where, the account is replicated.')
@allowed([
  'Standard_LRS'
  'Standard_ZRS'
  'Standard_GRS'
  'Standard_GZRS'
  'Standard_RAGRS'
  'Standard_RAGZRS'
])
param sku string

@description('Whether the account is reached from the virtual network alone; Event Grid delivers all the same, as a trusted service.')
param isPrivate bool

@description('Container of the archive.')
param archiveContainer string

@description('Container of the events that Event Grid could not deliver.')
param deadLetterContainer string

@description('Queues that are made.')
param queueNames array

@description('Whether blobs of the archive can be locked and held one by one. Can be switched on here, and never off.')
param versionImmutability bool

@description('Days for which what was deleted can be had back.')
@minValue(1)
@maxValue(365)
param softDeleteDays int

@description('Days after which recordings go to the cool tier; 0: never.')
@minValue(0)
param coolAfterDays int

@description('Days after which recordings go to the archive tier, with their metadata and manifests: neither can be read there; 0: never.')
@minValue(0)
param archiveAfterDays int

@description('Days after which the queue\'s ledger forgets a delivery; 0: never.')
@minValue(0)
param announcedDays int

@description('Resource id of the identity that uses the key.')
param keysIdentityId string

@description('Address of the Key Vault of the key.')
param keyVaultUri string

@description('Key that the account is encrypted with; empty: one of Microsoft.')
param encryptionKeyName string

var hasOwnKey = !empty(encryptionKeyName)
var coolRule = {
  name: 'recordings-to-cool'
  enabled: true
  type: 'Lifecycle'
  definition: {
    filters: {
      blobTypes: [
        'blockBlob'
      ]
      prefixMatch: [
        '${archiveContainer}/recordings/'
      ]
    }
    actions: {
      baseBlob: {
        tierToCool: {
          daysAfterModificationGreaterThan: coolAfterDays
        }
      }
    }
  }
}
var archiveRule = {
  name: 'recordings-to-archive'
  enabled: true
  type: 'Lifecycle'
  definition: {
    filters: {
      blobTypes: [
        'blockBlob'
      ]
      prefixMatch: [
        '${archiveContainer}/recordings/'
      ]
    }
    actions: {
      baseBlob: {
        tierToArchive: {
          daysAfterModificationGreaterThan: archiveAfterDays
        }
      }
    }
  }
}
// Nothing here is needed 48 hours after a chunk's deadline (ADR 7); announced/dead/ stays.
var announcedRule = {
  name: 'forget-announced'
  enabled: true
  type: 'Lifecycle'
  definition: {
    filters: {
      blobTypes: [
        'blockBlob'
      ]
      prefixMatch: [
        '${archiveContainer}/announced/deliveries/'
        '${archiveContainer}/announced/recordings/'
        '${archiveContainer}/announced/documents/'
        '${archiveContainer}/announced/due/'
      ]
    }
    actions: {
      baseBlob: {
        delete: {
          daysAfterModificationGreaterThan: announcedDays
        }
      }
      version: {
        delete: {
          daysAfterCreationGreaterThan: announcedDays
        }
      }
    }
  }
}
var rules = concat(coolAfterDays > 0 ? [coolRule] : [], archiveAfterDays > 0 ? [archiveRule] : [], announcedDays > 0 ? [announcedRule] : [])

resource account 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  // checkov:skip=CKV_AZURE_43:the name is put together when it is deployed, of lower case letters and digits
  // checkov:skip=CKV_AZURE_206:replication is a parameter, over two regions unless told otherwise
  // checkov:skip=CKV_AZURE_35:a parameter: denied with privateNetwork, else for Entra tokens alone
  // checkov:skip=CKV_AZURE_59:Event Grid delivers to the public address as a trusted service, which "Disabled" shuts out
  name: accountName
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: sku
  }
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${keysIdentityId}': {}
    }
  }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: 'Enabled'
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: isPrivate ? 'Deny' : 'Allow'
    }
    encryption: {
      keySource: hasOwnKey ? 'Microsoft.Keyvault' : 'Microsoft.Storage'
      identity: hasOwnKey ? {
        userAssignedIdentity: keysIdentityId
      } : null
      keyvaultproperties: hasOwnKey ? {
        keyvaulturi: keyVaultUri
        keyname: encryptionKeyName
      } : null
      requireInfrastructureEncryption: true
      services: {
        blob: {
          enabled: true
          keyType: 'Account'
        }
        // Queues are of the account's own key only if the account is made so.
        queue: {
          enabled: true
          keyType: 'Account'
        }
      }
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2023-05-01' = {
  parent: account
  name: 'default'
  properties: {
    isVersioningEnabled: true
    deleteRetentionPolicy: {
      enabled: true
      days: softDeleteDays
    }
    containerDeleteRetentionPolicy: {
      enabled: true
      days: softDeleteDays
    }
  }
}

resource archive 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = {
  parent: blobs
  name: archiveContainer
  properties: {
    publicAccess: 'None'
    immutableStorageWithVersioning: {
      enabled: versionImmutability
    }
  }
}

resource deadLetters 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = {
  parent: blobs
  name: deadLetterContainer
  properties: {
    publicAccess: 'None'
  }
}

resource queueService 'Microsoft.Storage/storageAccounts/queueServices@2023-05-01' = {
  parent: account
  name: 'default'
}

resource queues 'Microsoft.Storage/storageAccounts/queueServices/queues@2023-05-01' = [for queueName in queueNames: {
  parent: queueService
  name: queueName
}]

resource lifecycle 'Microsoft.Storage/storageAccounts/managementPolicies@2023-05-01' = if (!empty(rules)) {
  parent: account
  name: 'default'
  properties: {
    policy: {
      rules: rules
    }
  }
  dependsOn: [
    blobs
  ]
}

output accountId string = account.id
output accountName string = account.name
output archiveUrl string = '${account.properties.primaryEndpoints.blob}${archiveContainer}'
output deadLettersUrl string = '${account.properties.primaryEndpoints.blob}${deadLetterContainer}'
output queueEndpoint string = account.properties.primaryEndpoints.queue
