// Brings chunks home. Runs while messages are queued or in hand, and not at all otherwise.

@description('Name of the app.')
param name string

@description('Region of the app.')
param location string

@description('Tags of everything that is made here.')
param tags object

@description('Environment that it runs in.')
param environmentId string

@description('Image of recording-worker, by digest if possible.')
param image string

@description('Registry of the image; empty: anybody may pull it.')
param registryServer string

@description('Resource id of its identity.')
param identityId string

@description('Client id of its identity.')
param identityClientId string

@description('URL of the container of the archive.')
param archiveUrl string

@description('URL of the queue.')
param queueUrl string

@description('URL of the queue that Event Grid delivers to; empty: there is a webhook.')
param inboxUrl string

@description('Storage account of the queues.')
param storageAccountName string

@description('Queues that it scales by, hidden messages counted: what is in hand keeps its replica.')
param scaledQueues array

@description('Address of the secret with the connection string of ACS; empty: tokens are used.')
param acsSecretUrl string

@description('Endpoint of ACS where tokens are used.')
param acsEndpoint string

@description('Hosts of ACS\'s media, each in full, where tokens are used; else empty: those of ACS.')
param sourceHosts array

@description('Resource id of ACS: whose recordings are taken from the inbox.')
param acsId string

@description('When a proven chunk is deleted at ACS.')
@allowed([
  'never'
  'after-recording'
  'after-chunk'
])
param deleteSource string

@description('Access tier of contents.')
@allowed([
  'default'
  'hot'
  'cool'
  'cold'
  'archive'
])
param blobTier string

@description('Days for which nobody may change or remove a blob; 0: no such policy.')
@minValue(0)
@maxValue(146000)
param immutableDays int

@description('Seconds in which running chunks may end when a replica is stopped; the platform gives 600.')
@minValue(30)
@maxValue(570)
param drainSeconds int

@description('Replicas that always run.')
@minValue(0)
param minReplicas int

@description('Replicas that may run.')
@minValue(1)
param maxReplicas int

@description('Where metrics and traces go: `env` are the variables that say so, `secrets` what is secret in them.')
@secure()
param telemetry object

var hasSecret = !empty(acsSecretUrl)
var common = [
  {
    name: 'AZURE_CLIENT_ID'
    value: identityClientId
  }
  {
    name: 'WORKER_ARCHIVE'
    value: archiveUrl
  }
  {
    name: 'WORKER_QUEUE'
    value: queueUrl
  }
  {
    name: 'WORKER_DELETE_SOURCE'
    value: deleteSource
  }
  {
    name: 'WORKER_BLOB_TIER'
    value: blobTier
  }
  {
    name: 'WORKER_BLOB_IMMUTABLE_DAYS'
    value: string(immutableDays)
  }
  {
    name: 'WORKER_DRAIN_SECONDS'
    value: string(drainSeconds)
  }
  {
    name: 'WORKER_MEMORY_MIB'
    value: '512'
  }
  {
    name: 'WORKER_EVENT_TOPICS'
    value: acsId
  }
  {
    name: 'WORKER_ADMIN_LISTEN'
    value: '0.0.0.0:8081'
  }
]
var byKey = [
  {
    name: 'AZURE_COMMUNICATION_CONNECTION_STRING'
    secretRef: 'acs'
  }
]
var byToken = [
  {
    name: 'AZURE_COMMUNICATION_ENDPOINT'
    value: acsEndpoint
  }
]
var hosts = [
  {
    name: 'WORKER_SOURCE_HOSTS'
    value: join(sourceHosts, ',')
  }
]
var inbox = [
  {
    name: 'WORKER_INBOX'
    value: inboxUrl
  }
]

var acsSecrets = hasSecret ? [
  {
    name: 'acs'
    keyVaultUrl: acsSecretUrl
    identity: identityId
  }
] : []

resource app 'Microsoft.App/containerApps@2025-01-01' = {
  name: name
  location: location
  tags: tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    environmentId: environmentId
    workloadProfileName: 'Consumption'
    configuration: {
      activeRevisionsMode: 'Single'
      registries: empty(registryServer) ? [] : [
        {
          server: registryServer
          identity: identityId
        }
      ]
      secrets: concat(acsSecrets, telemetry.secrets)
    }
    template: {
      terminationGracePeriodSeconds: drainSeconds + 30
      containers: [
        {
          name: 'consumer'
          image: image
          command: [
            'recording-worker'
          ]
          args: [
            'consume'
          ]
          resources: {
            cpu: json('1.0')
            memory: '2Gi'
          }
          env: concat(common, hasSecret ? byKey : byToken, empty(sourceHosts) ? [] : hosts, empty(inboxUrl) ? [] : inbox, telemetry.env)
          probes: [
            {
              type: 'Liveness'
              httpGet: {
                path: '/livez'
                port: 8081
              }
              periodSeconds: 30
              timeoutSeconds: 10
              failureThreshold: 6
            }
          ]
        }
      ]
      scale: {
        minReplicas: minReplicas
        maxReplicas: maxReplicas
        rules: [for queueName in scaledQueues: {
          name: queueName
          custom: {
            type: 'azure-queue'
            identity: identityId
            metadata: {
              accountName: storageAccountName
              queueName: queueName
              queueLength: '8'
              queueLengthStrategy: 'all'
            }
          }
        }]
      }
    }
  }
}

output appId string = app.id
