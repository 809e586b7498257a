// From nothing to a worker on Azure: see deploy/README.md, which has each command.
//
// With runsOn = 'cluster' it makes all but what runs: deploy/kubernetes does that.
//
// It wants the resource group, the ACS resource, the image and, unless ACS is asked with tokens,
// a Key Vault with the secret. All else is made here.

targetScope = 'resourceGroup'

@description('What all names begin with: lower-case letters, digits and single hyphens.')
@minLength(3)
@maxLength(16)
param name string = 'recordings'

@description('Region of everything that has one.')
param location string = resourceGroup().location

@description('Tags of everything that is made here.')
param tags object = {}

@description('Where the workers run: in Container Apps, which are made here, or in a Kubernetes cluster of yours, for which all else is.')
@allowed([
  'container-apps'
  'cluster'
])
param runsOn string = 'container-apps'

@description('Image of recording-worker, by digest if possible: NAME.azurecr.io/recording-worker@sha256:... A cluster has it in its own files.')
param image string = ''

@description('Azure Container Registry of the image, in this resource group; empty: anybody may pull it.')
param registryName string = ''

@description('How deliveries are received: webhook is a public endpoint, inbox a queue that Event Grid fills.')
@allowed([
  'webhook'
  'inbox'
])
param receive string = 'webhook'

@description('Whether Event Grid delivers here. The first deployment says false, for the endpoint has to answer before Event Grid asks it.')
param subscribe bool = true

@description('Azure Communication Services resource whose calls are recorded.')
@minLength(1)
param acsName string

@description('Resource group of that resource.')
param acsResourceGroup string = resourceGroup().name

@description('How ACS is asked: with the key in the Key Vault, or with tokens of the consumer\'s identity.')
@allowed([
  'key'
  'tokens'
])
param acsAccess string = 'key'

@description('Hosts of ACS\'s media, each in full. Needed with tokens, for a token is good for all who get to see it; empty: those of ACS.')
param sourceHosts array = []

@description('Key Vault in this resource group, with roles switched on; empty: neither a secret nor a key is there.')
param keyVaultName string = ''

@description('Secret in the Key Vault with the connection string of ACS.')
param acsSecretName string = 'acs-connection-string'

@description('Key in the Key Vault that the storage account is encrypted with; empty: one of Microsoft. The vault needs purge protection.')
param encryptionKeyName string = ''

@description('Application that Event Grid\'s tokens are for. Needed with a webhook.')
param webhookApplicationId string = ''

@description('What Event Grid posts to where the webhook runs in a cluster: https://YOUR-HOST/api/events.')
param webhookEndpoint string = ''

@description('Tenant of that application.')
param webhookTenantId string = tenant().tenantId

@description('System topic that ACS has already, for Azure allows one per source; empty: it is made.')
param systemTopicName string = ''

@description('Resource group of that system topic.')
param systemTopicResourceGroup string = resourceGroup().name

@description('When a proven chunk is deleted at ACS. Begin with never: a script that you have goes on finding everything. What was complete before it is switched on stays at ACS until it expires there, or is announced again.')
@allowed([
  'never'
  'after-recording'
  'after-chunk'
])
param deleteSource string = 'never'

@description('How often, and where, the archive is replicated.')
@allowed([
  'Standard_LRS'
  'Standard_ZRS'
  'Standard_GRS'
  'Standard_GZRS'
  'Standard_RAGRS'
  'Standard_RAGZRS'
])
param storageSku string = 'Standard_GZRS'

@description('Whether the storage account is reached from a network of its own alone, by private endpoints. Begin with consumerMinReplicas = 1: nobody has seen here whether the platform scales by a queue that only the network reaches. A cluster\'s own network is peered with it, and linked to its zones.')
param privateNetwork bool = false

@description('Addresses of that network.')
param networkPrefix string = '10.60.0.0/22'

@description('Addresses of the apps in it, a /27 at least.')
param appsPrefix string = '10.60.0.0/24'

@description('Addresses of the storage account in it.')
param endpointsPrefix string = '10.60.1.0/24'

@description('Whether blobs of the archive can be locked and held one by one. Can be switched on, and never off.')
param versionImmutability bool = true

@description('Days for which nobody may change or remove what is archived; 0: no such policy. Nobody can shorten it for what is archived already once it is locked.')
@minValue(0)
@maxValue(146000)
param immutableDays int = 0

@description('Days for which what was deleted can be had back.')
@minValue(1)
@maxValue(365)
param softDeleteDays int = 30

@description('Access tier that contents are written with; archive needs a storageSku without ZRS.')
@allowed([
  'default'
  'hot'
  'cool'
  'cold'
  'archive'
])
param blobTier string = 'default'

@description('Days after which recordings go to the cool tier; 0: never.')
@minValue(0)
param coolAfterDays int = 0

@description('Days after which recordings go to the archive tier, with their metadata and manifests: none of it can be read or verified there; needs a storageSku without ZRS; 0: never.')
@minValue(0)
param archiveAfterDays int = 0

@description('Days after which the queue\'s ledger forgets a delivery, and who took part with it; 0: never.')
@minValue(0)
param announcedDays int = 30

@description('Replicas of the webhook that always run.')
@minValue(1)
@maxValue(25)
param webhookMinReplicas int = 2

@description('Replicas of the webhook that may run.')
@minValue(1)
@maxValue(25)
param webhookMaxReplicas int = 5

@description('Replicas of the consumer that always run; 0: none while nothing is queued.')
@minValue(0)
@maxValue(25)
param consumerMinReplicas int = 0

@description('Replicas of the consumer that may run, each with four chunks at once.')
@minValue(1)
@maxValue(300)
param consumerMaxReplicas int = 10

@description('Seconds in which running chunks may end when a replica is stopped.')
@minValue(30)
@maxValue(570)
param drainSeconds int = 300

@description('How much of the archive is hashed each night: a number of chunks, or a share of all.')
@minLength(1)
param verifySample string = '100'

@description('Days for which logs are kept.')
@minValue(30)
@maxValue(730)
param logDays int = 30

@description('Whether metrics and traces go to an Application Insights that is made here. The image takes it with --build-arg EXTRAS=azure-monitor alone.')
param applicationInsights bool = false

@description('Collector that metrics and traces go to by OTLP over HTTP, such as https://collector.example:4318; empty: none.')
param otlpEndpoint string = ''

@description('Headers for that collector, NAME=VALUE with commas between, such as its key; say them by readEnvironmentVariable() and in no file.')
@secure()
param otlpHeaders string = ''

@description('Who is told of alerts by e-mail; empty: nobody is.')
param alertEmail string = ''

@description('Action group that alerts are sent to as well; with neither they are shown in the portal alone.')
param actionGroupId string = ''

@description('Where your copy of deploy/RUNBOOK.md is: each alert leads to its heading there.')
@minLength(1)
param runbookUrl string = 'deploy/RUNBOOK.md'

var archiveContainer = 'recordings'
var deadLetterContainer = 'dead-letters'
var queueName = 'chunks'
var inboxName = 'inbox'
var hasWebhook = receive == 'webhook'
var runsHere = runsOn == 'container-apps'
var usesKey = acsAccess == 'key'
var usesSecret = usesKey && runsHere
var makesTopic = empty(systemTopicName)
var topicName = makesTopic ? '${name}-acs' : systemTopicName
var accountName = take('${replace(toLower(name), '-', '')}${uniqueString(resourceGroup().id)}', 24)
var workQueues = [
  queueName
  '${queueName}-urgent'
]
var inboxQueues = hasWebhook ? [] : [
  inboxName
]
var poisonQueues = hasWebhook ? [
  '${queueName}-poison'
] : [
  '${queueName}-poison'
  '${inboxName}-poison'
]
var allQueues = concat(workQueues, inboxQueues, poisonQueues)
var makesInsights = runsHere && applicationInsights
var insightsEnv = makesInsights ? [
  {
    name: 'APPLICATIONINSIGHTS_CONNECTION_STRING'
    secretRef: 'insights'
  }
] : []
var otlpEnv = empty(otlpEndpoint) ? [] : [
  {
    name: 'OTEL_EXPORTER_OTLP_ENDPOINT'
    value: otlpEndpoint
  }
]
var otlpHeadersEnv = empty(otlpHeaders) ? [] : [
  {
    name: 'OTEL_EXPORTER_OTLP_HEADERS'
    secretRef: 'otlp'
  }
]
var insightsName = '${name}-insights'
var insightsSecrets = makesInsights ? [
  {
    name: 'insights'
    value: insightsMade.properties.ConnectionString
  }
] : []
var otlpSecrets = empty(otlpHeaders) ? [] : [
  {
    name: 'otlp'
    value: otlpHeaders
  }
]
var telemetry = {
  env: concat(insightsEnv, otlpEnv, otlpHeadersEnv)
  secrets: concat(insightsSecrets, otlpSecrets)
}
var asksForArchive = blobTier == 'archive' || archiveAfterDays > 0
var placeholder = '00000000-0000-0000-0000-000000000000'
var saysYours = contains('${image} ${registryName} ${acsName} ${keyVaultName} ${alertEmail} ${runbookUrl} ${webhookEndpoint}', 'YOUR')

var wrong = [
  saysYours ? 'A parameter still says YOUR...: put your names into deploy/main.bicepparam, and take out the lines that you need not.' : ''
  runsHere && empty(image) ? 'image is missing: step 1 of deploy/README.md builds it.' : ''
  !runsHere && hasWebhook && subscribe && empty(webhookEndpoint) ? 'webhookEndpoint is missing: Event Grid posts to the host of your Ingress.' : ''
  !runsHere && (applicationInsights || !empty(otlpEndpoint)) ? 'applicationInsights and otlpEndpoint are of Container Apps: a cluster says where numbers go in deploy/kubernetes/settings.yaml.' : ''
  !empty(otlpHeaders) && empty(otlpEndpoint) ? 'otlpEndpoint is missing: otlpHeaders are for the collector there.' : ''
  name != toLower(name) ? 'name: Container Apps take lower-case letters, digits and hyphens alone.' : ''
  hasWebhook && (empty(webhookApplicationId) || webhookApplicationId == placeholder) ? 'webhookApplicationId is missing: receive=webhook needs the application that Event Grid\'s tokens are for (step 3 of deploy/README.md), receive=inbox needs none.' : ''
  usesSecret && empty(keyVaultName) ? 'keyVaultName is missing: acsAccess=key reads the connection string of ACS from a Key Vault (step 2 of deploy/README.md), acsAccess=tokens needs none.' : ''
  !empty(encryptionKeyName) && empty(keyVaultName) ? 'keyVaultName is missing: encryptionKeyName is a key in it.' : ''
  !usesKey && empty(sourceHosts) ? 'sourceHosts is missing: acsAccess=tokens needs each host of ACS\'s media in full, for whoever sees a token can use it.' : ''
  asksForArchive && contains(storageSku, 'ZRS') ? 'storageSku has no archive tier: blobTier=archive and archiveAfterDays need Standard_LRS, Standard_GRS or Standard_RAGRS.' : ''
  immutableDays > 0 && !versionImmutability ? 'versionImmutability is off: immutableDays needs it, else no chunk is ever deleted at ACS.' : ''
  webhookMinReplicas > webhookMaxReplicas ? 'More replicas always run than may run: webhookMinReplicas.' : ''
  consumerMinReplicas > consumerMaxReplicas ? 'More replicas always run than may run: consumerMinReplicas.' : ''
]

resource acs 'Microsoft.Communication/communicationServices@2023-04-01' existing = {
  name: acsName
  scope: resourceGroup(acsResourceGroup)
}

module checks 'azure/checks.bicep' = {
  name: '${name}-checks'
  params: {
    wrong: any(trim(join(wrong, ' ')))
  }
}

module identities 'azure/identities.bicep' = {
  name: '${name}-identities'
  params: {
    name: name
    location: location
    tags: tags
    hasWebhook: hasWebhook
  }
  dependsOn: [
    checks
  ]
}

module access 'azure/access.bicep' = {
  name: '${name}-access'
  params: {
    registryName: runsHere ? registryName : ''
    keyVaultName: keyVaultName
    acsSecretName: usesSecret ? acsSecretName : ''
    encryptionKeyName: encryptionKeyName
    pullerPrincipalIds: [
      identities.outputs.webhookPrincipalId
      identities.outputs.consumerPrincipalId
      identities.outputs.checkerPrincipalId
    ]
    consumerPrincipalId: identities.outputs.consumerPrincipalId
    keysPrincipalId: identities.outputs.keysPrincipalId
  }
}

module acsAsked 'azure/acs-access.bicep' = if (!usesKey) {
  name: '${name}-acs-access'
  scope: resourceGroup(acsResourceGroup)
  params: {
    acsName: acsName
    consumerPrincipalId: identities.outputs.consumerPrincipalId
  }
}

module storage 'azure/storage.bicep' = {
  name: '${name}-storage'
  params: {
    accountName: accountName
    location: location
    tags: tags
    sku: storageSku
    isPrivate: privateNetwork
    archiveContainer: archiveContainer
    deadLetterContainer: deadLetterContainer
    queueNames: allQueues
    versionImmutability: versionImmutability
    softDeleteDays: softDeleteDays
    coolAfterDays: coolAfterDays
    archiveAfterDays: archiveAfterDays
    announcedDays: announcedDays
    keysIdentityId: identities.outputs.keysId
    keyVaultUri: access.outputs.vaultUri
    encryptionKeyName: encryptionKeyName
  }
}

module roles 'azure/roles.bicep' = {
  name: '${name}-roles'
  params: {
    accountName: storage.outputs.accountName
    archiveContainer: archiveContainer
    deadLetterContainer: deadLetterContainer
    consumedQueues: allQueues
    webhookQueues: hasWebhook ? workQueues : []
    inboxQueues: inboxQueues
    hasWebhook: hasWebhook
    setsImmutability: immutableDays > 0
    webhookPrincipalId: identities.outputs.webhookPrincipalId
    consumerPrincipalId: identities.outputs.consumerPrincipalId
    checkerPrincipalId: identities.outputs.checkerPrincipalId
    eventsPrincipalId: identities.outputs.eventsPrincipalId
  }
}

module network 'azure/network.bicep' = if (privateNetwork) {
  name: '${name}-network'
  params: {
    name: name
    location: location
    tags: tags
    addressPrefix: networkPrefix
    appsPrefix: appsPrefix
    endpointsPrefix: endpointsPrefix
  }
  dependsOn: [
    checks
  ]
}

module endpoints 'azure/endpoints.bicep' = if (privateNetwork) {
  name: '${name}-endpoints'
  params: {
    name: name
    location: location
    tags: tags
    storageId: storage.outputs.accountId
    subnetId: privateNetwork ? network.outputs.endpointsSubnetId : ''
    blobZoneId: privateNetwork ? network.outputs.blobZoneId : ''
    queueZoneId: privateNetwork ? network.outputs.queueZoneId : ''
  }
}

module environment 'azure/environment.bicep' = if (runsHere) {
  name: '${name}-environment'
  params: {
    name: name
    location: location
    tags: tags
    logDays: logDays
    subnetId: privateNetwork ? network.outputs.appsSubnetId : ''
    zoneRedundant: privateNetwork
  }
  dependsOn: [
    checks
  ]
}

module insights 'azure/insights.bicep' = if (makesInsights) {
  name: insightsName
  params: {
    name: insightsName
    location: location
    tags: tags
    workspaceId: environment.outputs.workspaceId
  }
  dependsOn: [
    checks
  ]
}

// As the module above made it: whoever reads it here waits for that.
resource insightsMade 'Microsoft.Insights/components@2020-02-02' existing = if (makesInsights) {
  name: insightsName
}

module webhook 'azure/webhook.bicep' = if (runsHere && hasWebhook) {
  name: '${name}-webhook'
  params: {
    name: '${name}-webhook'
    location: location
    tags: tags
    environmentId: environment.outputs.environmentId
    image: image
    registryServer: access.outputs.registryServer
    identityId: identities.outputs.webhookId
    identityClientId: identities.outputs.webhookClientId
    archiveUrl: storage.outputs.archiveUrl
    queueUrl: '${storage.outputs.queueEndpoint}${queueName}'
    tenantId: webhookTenantId
    applicationId: webhookApplicationId
    acsId: acs.id
    minReplicas: webhookMinReplicas
    maxReplicas: webhookMaxReplicas
    telemetry: telemetry
  }
  dependsOn: [
    insights
    roles
    endpoints
  ]
}

module consumer 'azure/consumer.bicep' = if (runsHere) {
  name: '${name}-consumer'
  params: {
    name: '${name}-consumer'
    location: location
    tags: tags
    environmentId: environment.outputs.environmentId
    image: image
    registryServer: access.outputs.registryServer
    identityId: identities.outputs.consumerId
    identityClientId: identities.outputs.consumerClientId
    archiveUrl: storage.outputs.archiveUrl
    queueUrl: '${storage.outputs.queueEndpoint}${queueName}'
    inboxUrl: hasWebhook ? '' : '${storage.outputs.queueEndpoint}${inboxName}'
    storageAccountName: storage.outputs.accountName
    scaledQueues: concat(workQueues, inboxQueues)
    acsSecretUrl: usesSecret ? '${access.outputs.vaultUri}secrets/${acsSecretName}' : ''
    acsEndpoint: 'https://${acs.properties.hostName}'
    sourceHosts: sourceHosts
    acsId: acs.id
    deleteSource: deleteSource
    blobTier: blobTier
    immutableDays: immutableDays
    drainSeconds: drainSeconds
    minReplicas: consumerMinReplicas
    maxReplicas: consumerMaxReplicas
    telemetry: telemetry
  }
  dependsOn: [
    insights
    roles
    endpoints
    acsAsked
  ]
}

module jobs 'azure/jobs.bicep' = if (runsHere) {
  name: '${name}-jobs'
  params: {
    name: name
    location: location
    tags: tags
    environmentId: environment.outputs.environmentId
    image: image
    registryServer: access.outputs.registryServer
    identityId: identities.outputs.checkerId
    identityClientId: identities.outputs.checkerClientId
    archiveUrl: storage.outputs.archiveUrl
    queueUrl: '${storage.outputs.queueEndpoint}${queueName}'
    verifySample: verifySample
    telemetry: telemetry
  }
  dependsOn: [
    insights
    roles
    endpoints
  ]
}

module topic 'azure/topic.bicep' = if (makesTopic) {
  name: '${name}-topic'
  params: {
    name: topicName
    tags: tags
    acsId: acs.id
    eventsIdentityId: identities.outputs.eventsId
  }
}

var endpointUrl = !hasWebhook ? '' : runsHere ? webhook.outputs.endpoint : webhookEndpoint
var consumerApps = runsHere ? [
  consumer.outputs.appId
] : []
var webhookApps = runsHere && hasWebhook ? [
  webhook.outputs.appId
] : []

module subscription 'azure/subscription.bicep' = if (subscribe) {
  name: '${name}-subscription'
  scope: resourceGroup(makesTopic ? resourceGroup().name : systemTopicResourceGroup)
  params: {
    topicName: topicName
    receive: receive
    endpointUrl: endpointUrl
    tenantId: webhookTenantId
    applicationId: webhookApplicationId
    storageId: storage.outputs.accountId
    deadLetterContainer: deadLetterContainer
    inboxQueue: inboxName
    eventsIdentityId: identities.outputs.eventsId
  }
  dependsOn: [
    topic
    roles
  ]
}

module alerts 'azure/alerts.bicep' = {
  name: '${name}-alerts'
  params: {
    name: name
    location: location
    tags: tags
    workspaceId: runsHere ? environment.outputs.workspaceId : ''
    systemTopicId: resourceId(makesTopic ? resourceGroup().name : systemTopicResourceGroup, 'Microsoft.EventGrid/systemTopics', topicName)
    storageId: storage.outputs.accountId
    containerAppIds: concat(consumerApps, webhookApps)
    checkJobName: runsHere ? jobs.outputs.checkJobName : ''
    verifyJobName: runsHere ? jobs.outputs.verifyJobName : ''
    alertEmail: alertEmail
    actionGroupId: actionGroupId
    runbookUrl: runbookUrl
  }
  dependsOn: [
    topic
  ]
}

@description('What Event Grid posts to; empty with an inbox.')
output endpoint string = endpointUrl

@description('WORKER_ARCHIVE, for whoever looks from elsewhere.')
output archive string = storage.outputs.archiveUrl

@description('WORKER_QUEUE.')
output queue string = '${storage.outputs.queueEndpoint}${queueName}'

@description('Where Event Grid leaves what it could not deliver.')
output deadLetters string = storage.outputs.deadLettersUrl

@description('Storage account, for roles of people.')
output storageAccountName string = storage.outputs.accountName

@description('Identity that an existing system topic has to be given.')
output eventsIdentityId string = identities.outputs.eventsId

@description('Client id of recordings-webhook, for deploy/kubernetes; empty with an inbox.')
output webhookClientId string = identities.outputs.webhookClientId

@description('Client id of recordings-consumer.')
output consumerClientId string = identities.outputs.consumerClientId

@description('Client id of recordings-checker.')
output checkerClientId string = identities.outputs.checkerClientId

@description('WORKER_EVENT_TOPICS.')
output acsId string = acs.id
