// What wakes somebody, seen by Azure Monitor and not by the process that may have died.
//
// Each alert is a heading of deploy/RUNBOOK.md, and most are Prometheus' too
// (deploy/monitoring/prometheus-rules.yaml). Metrics of Event Grid tell what no worker saw.
// Logs tell what workers and the check job saw; and what the check job says is a state, which
// is said again every 15 minutes, so that nothing hangs on one line that was missed.
// Windows are longer than what a line takes to arrive, which is minutes.

@description('What the names begin with.')
param name string

@description('Region of the rules over logs.')
param location string

@description('Tags of everything that is made here.')
param tags object

@description('Log Analytics workspace of the apps and jobs; empty: they run in a cluster, and Prometheus sees what they say.')
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

@description('Who is told by e-mail; empty: nobody is.')
param alertEmail string

@description('Action group that is told as well; with neither the alerts are shown in the portal alone.')
param actionGroupId string

@description('Where the runbook is.')
param runbookUrl string

var hasWebhook = length(containerAppIds) > 1
var webhookId = hasWebhook ? containerAppIds[1] : ''

resource mails 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(alertEmail)) {
  name: '${name}-mails'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: take(name, 12)
    enabled: true
    emailReceivers: [
      {
        name: 'whoever is on duty'
        emailAddress: alertEmail
        useCommonAlertSchema: true
      }
    ]
  }
}

var told = concat(empty(alertEmail) ? [] : [mails.id], empty(actionGroupId) ? [] : [actionGroupId])

// https://learn.microsoft.com/azure/azure-monitor/reference/supported-metrics/microsoft-eventgrid-systemtopics-metrics
var topicAlerts = [
  {
    alert: 'RecordingEventsDropped'
    part: ''
    scope: systemTopicId
    namespace: 'Microsoft.EventGrid/systemTopics'
    metric: 'DroppedEventCount'
    aggregation: 'Total'
    operator: 'GreaterThan'
    threshold: 0
    frequency: 'PT5M'
    window: 'PT1H'
    severity: 0
    meaning: 'Event Grid gave events up and kept no copy: their chunks are lost 24 h after the event.'
  }
  {
    alert: 'RecordingEventsDeadLettered'
    part: ''
    scope: systemTopicId
    namespace: 'Microsoft.EventGrid/systemTopics'
    metric: 'DeadLetteredCount'
    aggregation: 'Total'
    operator: 'GreaterThan'
    threshold: 0
    frequency: 'PT5M'
    window: 'PT1H'
    severity: 0
    meaning: 'Events lie in the container of the dead letters: replay them within 17 h.'
  }
  // One event that meets a dead endpoint is tried six times in half an hour; one 503 mends itself.
  {
    alert: 'RecordingWorkerDown'
    part: '-undelivered'
    scope: systemTopicId
    namespace: 'Microsoft.EventGrid/systemTopics'
    metric: 'DeliveryAttemptFailCount'
    aggregation: 'Total'
    operator: 'GreaterThan'
    threshold: 3
    frequency: 'PT5M'
    window: 'PT30M'
    severity: 0
    meaning: 'Event Grid can\'t deliver: each event is a dead letter 4 h after it came.'
  }
]

// https://learn.microsoft.com/azure/azure-monitor/reference/supported-metrics/microsoft-app-containerapps-metrics
var appAlerts = hasWebhook ? [
  {
    alert: 'RecordingWorkerDown'
    part: '-webhook'
    scope: webhookId
    namespace: 'Microsoft.App/containerapps'
    metric: 'Replicas'
    aggregation: 'Maximum'
    operator: 'LessThan'
    threshold: 1
    frequency: 'PT5M'
    window: 'PT15M'
    severity: 0
    meaning: 'No replica of the webhook runs: each event is a dead letter 4 h after it came.'
  }
] : []

// https://learn.microsoft.com/azure/azure-monitor/reference/supported-metrics/microsoft-storage-storageaccounts-metrics
var storageAlerts = [
  {
    alert: 'RecordingQueueUnseen'
    part: '-storage'
    scope: storageId
    namespace: 'Microsoft.Storage/storageAccounts'
    metric: 'Availability'
    aggregation: 'Average'
    operator: 'LessThan'
    threshold: 90
    frequency: 'PT5M'
    window: 'PT15M'
    severity: 1
    meaning: 'The storage of archive and queue does not answer: nothing new is taken, and nothing comes home.'
  }
]

resource metricAlerts 'Microsoft.Insights/metricAlerts@2018-03-01' = [for each in concat(topicAlerts, appAlerts, storageAlerts): {
  name: '${name}-${each.alert}${each.part}'
  location: 'global'
  tags: tags
  properties: {
    description: '${each.meaning} ${runbookUrl}#${toLower(each.alert)}'
    severity: each.severity
    enabled: true
    scopes: [
      each.scope
    ]
    evaluationFrequency: each.frequency
    windowSize: each.window
    autoMitigate: true
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          name: each.metric
          criterionType: 'StaticThresholdCriterion'
          metricNamespace: each.namespace
          metricName: each.metric
          operator: each.operator
          threshold: each.threshold
          timeAggregation: each.aggregation
        }
      ]
    }
    actions: [for groupId in told: {
      actionGroupId: groupId
    }]
  }
}]

// The table is made with the first line that arrives, and its columns with it: until then it is
// empty, and no error. It is the one of an environment whose logs go to 'log-analytics'.
// https://learn.microsoft.com/azure/container-apps/log-monitoring
var lines = '''
let nothing = datatable(TimeGenerated: datetime, Log_s: string) [];
let lines = union isfuzzy=true nothing, ContainerAppConsoleLogs_CL
| where Log_s startswith '{'
| extend line = parse_json(Log_s)
| extend event = tostring(line.event);
'''

// Each query gives one row with the column `found`, whose number rings above zero.
var logAlerts = [
  {
    alert: 'RecordingCheckMissing'
    frequency: 'PT5M'
    window: 'PT45M'
    severity: 1
    meaning: 'The job ${checkJobName} has said nothing for 45 minutes: nobody looks from outside.'
    query: '''
lines
| where event == 'status.checked'
| summarize seen = count()
| project found = iff(seen == 0, 1, 0)
'''
  }
  {
    alert: 'RecordingChunkAtRisk'
    frequency: 'PT5M'
    window: 'PT30M'
    severity: 0
    meaning: 'Chunks have less than WORKER_AT_RISK_HOURS (6) until ACS drops them.'
    query: '''
lines
| where event == 'chunks.at_risk' or (event == 'status.checked' and toint(line.at_risk) > 0)
| summarize found = count()
'''
  }
  {
    alert: 'RecordingChunkDead'
    frequency: 'PT5M'
    window: 'PT30M'
    severity: 0
    meaning: 'Chunks are given up, and ACS keeps each for 24 h from its recording.'
    query: '''
lines
| where (event == 'chunk.finished' and line.outcome == 'dead') or event == 'chunk.dead_lettered'
    or (event == 'status.checked' and toint(line.dead) > 0)
| summarize found = count()
'''
  }
  {
    alert: 'RecordingWorkPaused'
    frequency: 'PT5M'
    window: 'PT30M'
    severity: 2
    meaning: 'Nothing is begun, by an operator or for trouble that several chunks share; 24 h run on.'
    query: '''
lines
| where event in ('consumer.paused', 'work.paused')
    or (event == 'status.checked' and tobool(line.paused) == true)
| summarize found = count()
'''
  }
  // One is what `doctor --endpoint` leaves; Event Grid tries each event four times in 15 min.
  {
    alert: 'RecordingDeliveriesRefused'
    frequency: 'PT5M'
    window: 'PT15M'
    severity: 0
    meaning: 'What looks like Event Grid\'s is refused: each event is a dead letter 4 h after it came.'
    query: '''
lines
| where event == 'delivery.refused'
| summarize refused = sum(1 + coalesce(toint(line.unsaid), 0))
| project found = iff(coalesce(refused, 0) > 1, 1, 0)
'''
  }
  {
    alert: 'RecordingSubscriptionDeleted'
    frequency: 'PT5M'
    window: 'PT6H'
    severity: 0
    meaning: 'Nothing announces recordings any more: each that ends now is lost 24 h later.'
    query: '''
lines
| where event == 'subscription.deleted'
| summarize found = count()
'''
  }
  {
    alert: 'RecordingVerificationFailed'
    frequency: 'PT1H'
    window: 'P1D'
    severity: 2
    meaning: 'The archive does not hold what its receipts prove, says ${verifyJobName} or whoever verified.'
    query: '''
lines
| where event == 'recordings.verified' and toint(line.problems) > 0
| summarize found = count()
'''
  }
  // Said every minute by each process that can't see it; what heals within minutes rings nobody.
  {
    alert: 'RecordingQueueUnseen'
    frequency: 'PT5M'
    window: 'PT30M'
    severity: 1
    meaning: 'Workers do not see their queue: nothing new is taken, and nothing comes home.'
    query: '''
lines
| where event == 'queue.unavailable'
| summarize minutes = dcount(bin(TimeGenerated, 1m))
| project found = iff(minutes >= 10, 1, 0)
'''
  }
]

resource logRules 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [for each in logAlerts: if (!empty(workspaceId)) {
  name: '${name}-${each.alert}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: each.alert
    description: '${each.meaning} ${runbookUrl}#${toLower(each.alert)}'
    severity: each.severity
    enabled: true
    scopes: [
      workspaceId
    ]
    evaluationFrequency: each.frequency
    windowSize: each.window
    autoMitigate: true
    skipQueryValidation: true
    criteria: {
      allOf: [
        {
          query: '${lines}${each.query}'
          metricMeasureColumn: 'found'
          timeAggregation: 'Total'
          operator: 'GreaterThan'
          threshold: 0
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    actions: {
      actionGroups: told
    }
  }
}]
