// Application Insights over the workspace of the logs. Whoever knows its connection string can
// send to it and read nothing; no output tells it, for outputs are kept with the deployment.

@description('Name of it.')
param name string

@description('Region of it.')
param location string

@description('Tags of everything that is made here.')
param tags object

@description('Log Analytics workspace that keeps what it takes.')
param workspaceId string

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: name
  location: location
  tags: tags
  kind: 'other'
  properties: {
    Application_Type: 'other'
    WorkspaceResourceId: workspaceId
  }
}
