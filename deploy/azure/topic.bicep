// The system topic of ACS. Azure allows one per source: name the one that is there, if any.

@description('Name of the topic.')
param name string

@description('Tags of everything that is made here.')
param tags object

@description('Resource id of ACS.')
param acsId string

@description('Resource id of the identity that Event Grid delivers with.')
param eventsIdentityId string

resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' = {
  name: name
  location: 'global'
  tags: tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${eventsIdentityId}': {}
    }
  }
  properties: {
    source: acsId
    topicType: 'Microsoft.Communication.CommunicationServices'
  }
}

output topicId string = topic.id
