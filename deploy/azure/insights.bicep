// Application Insights over the workspace of the logs. Whoever knows its connection string can
// send to it and read nothing, and each app reads it here: no output tells it.

@description('What the names begin with.')
param name string

@description('Region of it.')
param location string

@description('Tags of everything that is made here.')
param tags object

@description('Log Analytics workspace that keeps what it takes.')
param workspaceId string

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: '${name}-insights'
  location: location
  tags: tags
  kind: 'other'
  properties: {
    Application_Type: 'other'
    WorkspaceResourceId: workspaceId
  }
}

output insightsName string = insights.name
