// What wakes somebody, seen by Azure Monitor and not by the process that may have died.

@description('What the names begin with.')
param name string

@description('Region of the rules over logs.')
param location string

@description('Tags of everything that is made here.')
param tags object

@description('Log Analytics workspace of the apps and jobs.')
param workspaceId string

@description('System topic of ACS.')
param systemTopicId string

@description('Storage account of archive and queues.')
param storageId string

@description('Resource ids of the apps: consumer, and webhook if there is one.')
param containerAppIds array

@description('Name of the job that looks every 15 minutes.')
param checkJobName string

@description('Name of the job that verifies each night.')
param verifyJobName string

@description('Action group that is told; empty: the alerts are shown in the portal alone.')
param actionGroupId string
