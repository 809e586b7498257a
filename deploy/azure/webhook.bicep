// The public half: takes deliveries and queues them, sees no recording, and holds no secret but
// where metrics and traces are sent to, if anywhere.

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

@description('Tenant that issues Event Grid\'s tokens.')
param tenantId string

@description('Application that the tokens are for.')
param applicationId string

@description('Resource id of ACS: whose recordings are taken.')
param acsId string

@description('Replicas that always run.')
@minValue(1)
param minReplicas int

@description('Replicas that may run.')
@minValue(1)
param maxReplicas int

@description('Where metrics and traces go: `env` are the variables that say so, `secrets` what is secret in them.')
@secure()
param telemetry object

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
      ingress: {
        external: true
        allowInsecure: false
        targetPort: 8080
        transport: 'http'
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
      terminationGracePeriodSeconds: 60
      containers: [
        {
          name: 'webhook'
          image: image
          command: [
            'recording-worker'
          ]
          args: [
            'webhook'
          ]
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
            {
              name: 'WORKER_LISTEN'
              value: '0.0.0.0:8080'
            }
            {
              name: 'WORKER_WEBHOOK_ENTRA_TENANT'
              value: tenantId
            }
            {
              name: 'WORKER_WEBHOOK_ENTRA_AUDIENCES'
              value: '${applicationId},api://${applicationId}'
            }
            {
              name: 'WORKER_EVENT_TOPICS'
              value: acsId
            }
          ], telemetry.env)
          probes: [
            {
              type: 'Liveness'
              httpGet: {
                path: '/livez'
                port: 8080
              }
              periodSeconds: 10
              timeoutSeconds: 5
              failureThreshold: 6
            }
            {
              type: 'Readiness'
              httpGet: {
                path: '/readyz'
                port: 8080
              }
              periodSeconds: 10
              timeoutSeconds: 10
              failureThreshold: 3
            }
          ]
        }
      ]
      scale: {
        minReplicas: minReplicas
        maxReplicas: maxReplicas
        rules: [
          {
            name: 'requests'
            http: {
              metadata: {
                concurrentRequests: '50'
              }
            }
          }
        ]
      }
    }
  }
}

output appId string = app.id
output endpoint string = 'https://${app.properties.configuration.ingress.fqdn}/api/events'
