// Looks from outside, with rights to read alone: an execution that fails needs somebody, and
// one that is missing too.

@description('What the names begin with.')
param name string

@description('Region of the jobs.')
param location string

@description('Tags of everything that is made here.')
param tags object

@description('Environment that they run in.')
param environmentId string

@description('Image of recording-worker, by digest if possible.')
param image string

@description('Registry of the image; empty: anybody may pull it.')
param registryServer string

@description('Resource id of their identity.')
param identityId string

@description('Client id of their identity.')
param identityClientId string

@description('URL of the container of the archive.')
param archiveUrl string

@description('URL of the queue.')
param queueUrl string

@description('How much of the archive is hashed each night: a number of chunks, or a share of all.')
param verifySample string

@description('Where metrics and traces go: `env` are the variables that say so, `secrets` what is secret in them.')
@secure()
param telemetry object

var jobs = [
  {
    name: '${name}-check'
    cron: '*/15 * * * *'
    timeoutSeconds: 600
    // Says status.checked each time, for azure/alerts.bicep to miss.
    args: [
      '--verbose'
      'status'
      '--check'
    ]
  }
  {
    name: '${name}-verify'
    cron: '17 2 * * *'
    timeoutSeconds: 21600
    args: [
      'recordings'
      'verify'
      '--sample'
      verifySample
      '--no-report'
    ]
  }
]

resource scheduled 'Microsoft.App/jobs@2025-01-01' = [for job in jobs: {
  name: job.name
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
      triggerType: 'Schedule'
      replicaTimeout: job.timeoutSeconds
      replicaRetryLimit: 0
      scheduleTriggerConfig: {
        cronExpression: job.cron
        parallelism: 1
        replicaCompletionCount: 1
      }
      registries: empty(registryServer) ? [] : [
        {
          server: registryServer
          identity: identityId
        }
      ]
      secrets: telemetry.secrets
    }
    template: {
      containers: [
        {
          name: 'recording-worker'
          image: image
          command: [
            'recording-worker'
          ]
          args: job.args
          resources: {
            cpu: json('0.5')
            memory: '1Gi'
          }
          env: concat([
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
          ], telemetry.env)
        }
      ]
    }
  }
}]

output checkJobName string = '${name}-check'
output verifyJobName string = '${name}-verify'
