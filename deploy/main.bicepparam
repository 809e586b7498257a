// The first deployment of deploy/README.md. The second says subscribe = true.
using 'main.bicep'

param name = 'recordings'
param image = 'YOURREGISTRY.azurecr.io/recording-worker:0.9.0'
param registryName = 'YOURREGISTRY'
param receive = 'webhook'
param subscribe = false
param acsName = 'YOURACS'
param acsAccess = 'key'
param keyVaultName = 'YOURVAULT'
param webhookApplicationId = '00000000-0000-0000-0000-000000000000'
param deleteSource = 'never'
param alertEmail = 'YOU@YOUR.EXAMPLE'
