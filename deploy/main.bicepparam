// What is deployed, each time anew: nothing that was said beside it is kept.
// The first time says subscribe=false beside it (deploy/README.md, step 4).
using 'main.bicep'

param name = 'recordings'
param image = 'YOURREGISTRY.azurecr.io/recording-worker:0.9.0'
param registryName = 'YOURREGISTRY'
param receive = 'webhook'
param subscribe = true
param acsName = 'YOURACS'
param acsAccess = 'key'
param keyVaultName = 'YOURVAULT'
param webhookApplicationId = '00000000-0000-0000-0000-000000000000'
param deleteSource = 'never'
param alertEmail = 'YOU@YOUR.EXAMPLE'
param runbookUrl = 'https://YOUR.EXAMPLE/RUNBOOK.md'
