// Who may do what in the storage account: nobody may delete from the archive, the public half
// sees neither recordings nor receipts, and no role is of the whole account.

@description('Name of the account.')
param accountName string

@description('Container of the archive.')
param archiveContainer string

@description('Container of the events that Event Grid could not deliver.')
param deadLetterContainer string

@description('Queues that the consumer empties; the checker looks at them.')
param consumedQueues array

@description('Queues that the webhook sends to.')
param webhookQueues array

@description('Queues that Event Grid delivers to.')
param inboxQueues array

@description('Whether there is a webhook.')
param hasWebhook bool

@description('Whether the consumer sets a time for which a blob can\'t be changed.')
param setsImmutability bool

@description('Principal of the webhook.')
param webhookPrincipalId string

@description('Principal of the consumer.')
param consumerPrincipalId string

@description('Principal of the jobs that check.')
param checkerPrincipalId string

@description('Principal of the system topic.')
param eventsPrincipalId string

var roles = {
  storageBlobDataContributor: 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
  storageBlobDataReader: '2a2b9908-6ea1-4ae2-8e65-a410df84e7d1'
  storageQueueDataContributor: '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
  storageQueueDataMessageSender: 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a'
  storageQueueDataReader: '19e7f393-937e-4f77-808e-94535e297925'
}
var groupId = resourceGroup().id
var blobsRead = 'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'
var blobsAdd = 'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action'
var blobsWrite = 'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write'
var blobsTag = 'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/tags/write'
var blobsHold = 'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/immutableStorage/runAsSuperUser/action'
var path = '@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path]'
var prefix = '@Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix]'

// .staging/ has nothing but the name that says whether the archive answers.
var mayRead = '${path} StringStartsWith \'announced/\' OR ${path} StringStartsWith \'quarantine/\' OR ${path} StringStartsWith \'control/\' OR ${path} StringStartsWith \'.staging/\''
var mayList = '${prefix} StringStartsWith \'announced/\' OR ${prefix} StringStartsWith \'quarantine/\' OR ${prefix} StringStartsWith \'control/\''
var mayWrite = '${path} StringStartsWith \'announced/\' OR ${path} StringStartsWith \'quarantine/\''
var readCondition = '(!(ActionMatches{\'${blobsRead}\'} AND NOT SubOperationMatches{\'Blob.List\'}) OR (${mayRead}))'
var listCondition = '(!(ActionMatches{\'${blobsRead}\'} AND SubOperationMatches{\'Blob.List\'}) OR (${mayList}))'
var writeCondition = '((!(ActionMatches{\'${blobsWrite}\'}) AND !(ActionMatches{\'${blobsAdd}\'})) OR (${mayWrite}))'

resource account 'Microsoft.Storage/storageAccounts@2023-05-01' existing = {
  name: accountName
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2023-05-01' existing = {
  parent: account
  name: 'default'
}

resource archive 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' existing = {
  parent: blobs
  name: archiveContainer
}

resource deadLetters 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' existing = {
  parent: blobs
  name: deadLetterContainer
}

resource queueService 'Microsoft.Storage/storageAccounts/queueServices@2023-05-01' existing = {
  parent: account
  name: 'default'
}

resource consumed 'Microsoft.Storage/storageAccounts/queueServices/queues@2023-05-01' existing = [for queueName in consumedQueues: {
  parent: queueService
  name: queueName
}]

resource sentTo 'Microsoft.Storage/storageAccounts/queueServices/queues@2023-05-01' existing = [for queueName in webhookQueues: {
  parent: queueService
  name: queueName
}]

resource deliveredTo 'Microsoft.Storage/storageAccounts/queueServices/queues@2023-05-01' existing = [for queueName in inboxQueues: {
  parent: queueService
  name: queueName
}]

// Large deliveries are written in blocks, for which there is no smaller right than to write.
resource announcer 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(account.id, 'announcer')
  properties: {
    roleName: 'Recording announcer of ${accountName}'
    description: 'Reads and writes blobs, deletes none; given with a condition on their paths.'
    type: 'CustomRole'
    assignableScopes: [
      groupId
    ]
    permissions: [
      {
        actions: []
        notActions: []
        dataActions: [
          blobsRead
          blobsAdd
          blobsWrite
        ]
        notDataActions: []
      }
    ]
  }
}

resource archiver 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(account.id, 'archiver')
  properties: {
    roleName: 'Recording archiver of ${accountName}'
    description: 'Reads, writes and tags blobs, deletes none.'
    type: 'CustomRole'
    assignableScopes: [
      groupId
    ]
    permissions: [
      {
        actions: []
        notActions: []
        dataActions: concat([
          blobsRead
          blobsAdd
          blobsWrite
          blobsTag
        ], setsImmutability ? [blobsHold] : [])
        notDataActions: []
      }
    ]
  }
}

// Each is named by its principal too: one that was made anew is another, and an assignment can't change hands.
resource webhookAnnounces 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (hasWebhook) {
  name: guid(archive.id, webhookPrincipalId, 'announcer')
  scope: archive
  properties: {
    roleDefinitionId: announcer.id
    principalId: webhookPrincipalId
    principalType: 'ServicePrincipal'
    conditionVersion: '2.0'
    condition: '${readCondition} AND ${listCondition} AND ${writeCondition}'
  }
}

resource webhookSends 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (queueName, i) in webhookQueues: if (hasWebhook) {
  name: guid(account.id, queueName, webhookPrincipalId, roles.storageQueueDataMessageSender)
  scope: sentTo[i]
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageQueueDataMessageSender)
    principalId: webhookPrincipalId
    principalType: 'ServicePrincipal'
  }
}]

resource consumerArchives 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(archive.id, consumerPrincipalId, 'archiver')
  scope: archive
  properties: {
    roleDefinitionId: archiver.id
    principalId: consumerPrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource consumerEmpties 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (queueName, i) in consumedQueues: {
  name: guid(account.id, queueName, consumerPrincipalId, roles.storageQueueDataContributor)
  scope: consumed[i]
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageQueueDataContributor)
    principalId: consumerPrincipalId
    principalType: 'ServicePrincipal'
  }
}]

resource checkerReads 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(archive.id, checkerPrincipalId, roles.storageBlobDataReader)
  scope: archive
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageBlobDataReader)
    principalId: checkerPrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource checkerLooks 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (queueName, i) in consumedQueues: {
  name: guid(account.id, queueName, checkerPrincipalId, roles.storageQueueDataReader)
  scope: consumed[i]
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageQueueDataReader)
    principalId: checkerPrincipalId
    principalType: 'ServicePrincipal'
  }
}]

resource eventsDeadLetter 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(deadLetters.id, eventsPrincipalId, roles.storageBlobDataContributor)
  scope: deadLetters
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageBlobDataContributor)
    principalId: eventsPrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource eventsDeliver 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (queueName, i) in inboxQueues: {
  name: guid(account.id, queueName, eventsPrincipalId, roles.storageQueueDataMessageSender)
  scope: deliveredTo[i]
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageQueueDataMessageSender)
    principalId: eventsPrincipalId
    principalType: 'ServicePrincipal'
  }
}]
