// What Event Grid delivers, where to, for how long it tries, and where it leaves what it could
// not deliver. 240 minutes outlast most outages, and leave 17 hours to replay a dead letter
// before ACS drops its media; Event Grid's own 24 hours leave none.

@description('System topic of ACS, in the resource group of this module.')
param topicName string

@description('How deliveries are received.')
@allowed([
  'webhook'
  'inbox'
])
param receive string

@description('Endpoint of the webhook; empty with an inbox.')
param endpointUrl string

@description('Tenant that issues Event Grid\'s tokens.')
param tenantId string

@description('Application that the tokens are for.')
param applicationId string

@description('Resource id of the storage account.')
param storageId string

@description('Container of what could not be delivered.')
param deadLetterContainer string

@description('Queue that is delivered to with an inbox.')
param inboxQueue string

@description('Resource id of the identity that Event Grid delivers with; the topic must have it.')
param eventsIdentityId string

var identity = {
  type: 'UserAssigned'
  userAssignedIdentity: eventsIdentityId
}
var common = {
  eventDeliverySchema: 'CloudEventSchemaV1_0'
  filter: {
    includedEventTypes: [
      'Microsoft.Communication.RecordingFileStatusUpdated'
    ]
  }
  retryPolicy: {
    maxDeliveryAttempts: 30
    eventTimeToLiveInMinutes: 240
  }
  deadLetterWithResourceIdentity: {
    identity: identity
    deadLetterDestination: {
      endpointType: 'StorageBlob'
      properties: {
        resourceId: storageId
        blobContainerName: deadLetterContainer
      }
    }
  }
}
var toWebhook = {
  destination: {
    endpointType: 'WebHook'
    properties: {
      endpointUrl: endpointUrl
      maxEventsPerBatch: 100
      preferredBatchSizeInKilobytes: 256
      azureActiveDirectoryTenantId: tenantId
      azureActiveDirectoryApplicationIdOrUri: applicationId
      minimumTlsVersionAllowed: '1.2'
    }
  }
}
var toInbox = {
  deliveryWithResourceIdentity: {
    identity: identity
    destination: {
      endpointType: 'StorageQueue'
      properties: {
        resourceId: storageId
        queueName: inboxQueue
        queueMessageTimeToLiveInSeconds: -1
      }
    }
  }
}

resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = {
  name: topicName
}

resource recordings 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = {
  parent: topic
  name: 'recordings'
  properties: union(common, receive == 'webhook' ? toWebhook : toInbox)
}
