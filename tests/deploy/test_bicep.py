"""The plan of deploy/main.bicep: it holds together, and says what the code needs."""

import itertools
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests import runbook
from tests.deploy import plan, stops
from tests.deploy.plan import Plan, PlanError, Resource
from worker import names
from worker.archives import object_names
from worker.queues import inbox_queue
from worker.queues.storage import names as ledger_names
from worker.queues.storage import queue as storage_queue
from worker.settings import Settings
from worker.settings_rules import Use

DEPLOY = Path(__file__).parents[2] / "deploy"
MAIN = DEPLOY / "main.bicep"
FILES = [MAIN, *sorted((DEPLOY / "azure").glob("*.bicep"))]
DRAIN = Settings.model_fields["drain_seconds"].default
USES = {"webhook": Use.WEBHOOK, "consume": Use.CONSUME}
ACS_KEY = "endpoint=https://acs.communication.azure.com/;accesskey=a2V5"
NOBODY = "00000000-0000-0000-0000-000000000000"
ACCOUNTED_FOR = "12345678-1234-4234-8234-123456789012"
GIVEN = {
    "image": "acr.azurecr.io/recording-worker@sha256:0",
    "acsName": "acs",
    "keyVaultName": "vault",
    "webhookApplicationId": ACCOUNTED_FOR,
}
EVERYTHING = {
    "acsAccess": "tokens",
    "sourceHosts": ["eu-api.asm.skype.com", "us-api.asm.skype.com"],
    "registryName": "acr",
    "encryptionKeyName": "key",
    "systemTopicName": "theirs",
    "systemTopicResourceGroup": "other",
    "privateNetwork": True,
    "immutableDays": 30,
    "blobTier": "cool",
    "coolAfterDays": 30,
    "archiveAfterDays": 90,
    "storageSku": "Standard_GRS",
    "applicationInsights": True,
    "otlpEndpoint": "https://collector.example.org:4318",
    "otlpHeaders": "api-key=dG9w",
    "runbookUrl": "https://wiki.example.org/RUNBOOK.md",
    "alertEmail": "duty@example.org",
    "deleteSource": "after-recording",
    "drainSeconds": 570,
    "actionGroupId": "/subscriptions/s/resourceGroups/rg/x",
}
VARIANTS: dict[str, dict[str, Any]] = {
    "webhook": {},
    "inbox": {"receive": "inbox"},
    "webhook, all else": EVERYTHING,
    "inbox, all else": {**EVERYTHING, "receive": "inbox"},
    "before Event Grid": {"subscribe": False},
}
ROLES = {
    "storageBlobDataContributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "storageBlobDataReader": "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",
    "storageQueueDataContributor": "974c5e8b-45b9-4653-ba55-5f855dd0fb88",
    "storageQueueDataMessageSender": "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a",
    "storageQueueDataReader": "19e7f393-937e-4f77-808e-94535e297925",
    "acrPull": "7f951dda-4ed3-4680-a7ca-43fe172d538d",
    "keyVaultSecretsUser": "4633458b-17de-408a-b874-0445c86b69e6",
    "keyVaultCryptoServiceEncryptionUser": "e147488a-f6f5-4113-8e2d-b22465e65bf6",
    "communicationAndEmailServiceOwner": "09976791-48a7-449e-bb21-39d1a415f350",
}
"""https://learn.microsoft.com/azure/role-based-access-control/built-in-roles"""
DATA = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"


@cache
def planned(variant: str) -> Plan:
    return plan.plan(MAIN, GIVEN | VARIANTS[variant])


every_variant = pytest.mark.parametrize("variant", VARIANTS)


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_every_parameter_is_described(file: Path) -> None:
    """And every file is Bicep."""
    undescribed = [
        name
        for name, each in plan.parameters(file).items()
        if not each.limits.get("description")
    ]

    assert undescribed == []


@every_variant
def test_plan_holds_together(variant: str) -> None:
    """Modules get what they declare and no more; every name that is used is declared."""
    made = planned(variant)
    ids = [each.id.casefold() for each in made.resources if not each.existing]

    assert len(ids) > 20
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"receive": "both"}, "receive can't be"),
        ({"webhookMinReplicas": 0}, "webhookMinReplicas can't be"),
        ({"deleteSource": "always"}, "deleteSource can't be"),
        ({"receiving": "inbox"}, "no parameters"),
    ],
)
def test_parameters_that_are_none_are_found(given: dict[str, Any], told: str) -> None:
    """A plan that takes anything would prove nothing."""
    with pytest.raises(PlanError, match=told):
        plan.plan(MAIN, GIVEN | given)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"keyVaultName": ""}, "keyVaultName is missing: acsAccess=key"),
        (
            {"acsAccess": "tokens", "sourceHosts": ["eu-api.asm.skype.com"]}
            | {"keyVaultName": "", "encryptionKeyName": "key"},
            "keyVaultName is missing: encryptionKeyName",
        ),
        ({"webhookApplicationId": ""}, "webhookApplicationId is missing"),
        ({"webhookApplicationId": NOBODY}, "webhookApplicationId is missing"),
        ({"acsAccess": "tokens"}, "sourceHosts is missing"),
        ({"blobTier": "archive"}, "no archive tier"),
        ({"archiveAfterDays": 90}, "no archive tier"),
        ({"immutableDays": 7, "versionImmutability": False}, "versionImmutability"),
        ({"webhookMaxReplicas": 1}, "More replicas"),
        ({"consumerMinReplicas": 11}, "More replicas"),
        ({"image": ""}, "image is missing"),
        ({"runsOn": "cluster"}, "webhookEndpoint is missing"),
        (
            {"runsOn": "cluster", "subscribe": False, "applicationInsights": True},
            "are of Container Apps",
        ),
        ({"otlpHeaders": "api-key=dG9w"}, "otlpEndpoint is missing"),
        ({"name": "Recordings"}, "name: Container Apps take lower-case"),
        ({"alertEmail": "YOU@YOUR.EXAMPLE"}, "still says YOUR"),
        ({"acsName": "YOURACS"}, "still says YOUR"),
    ],
)
def test_parameters_that_do_not_fit_together_are_told_before_anything_is_made(
    given: dict[str, Any], told: str
) -> None:
    """Else Azure finds out after minutes, or a container by ending again and again."""
    with pytest.raises(PlanError, match=told):
        plan.plan(MAIN, GIVEN | given)


def test_all_that_does_not_fit_is_told_at_once() -> None:
    given = {"keyVaultName": "", "webhookApplicationId": "", "acsName": "YOURACS"}

    with pytest.raises(PlanError) as told:
        plan.plan(MAIN, GIVEN | given)

    for each in ("still says YOUR", "keyVaultName", "webhookApplicationId"):
        assert each in str(told.value)


def test_nothing_is_made_before_that() -> None:
    """Each module waits for the checks, or for one that does and is always made."""
    text = MAIN.read_text()
    modules = dict(
        re.findall(r"^module (\w+) ('.*?^})", text, re.MULTILINE | re.DOTALL)
    )
    waiting, carrying = set[str](), {"checks"}
    for _ in modules:
        awaited = re.compile(
            rf"\b(?:{'|'.join(carrying)})(?:\.outputs|$)", re.MULTILINE
        )
        waiting |= {name for name, body in modules.items() if awaited.search(body)}
        carrying |= {name for name in waiting if " = if (" not in modules[name]}

    assert len(modules) == 16
    assert waiting == modules.keys() - {"checks"}


def test_what_needs_no_webhook_and_no_vault_asks_for_neither() -> None:
    """The other way round: nothing is asked for that is not used."""
    given = {"receive": "inbox", "acsAccess": "tokens", "sourceHosts": ["a.example"]}

    plan.plan(MAIN, given | {"image": GIVEN["image"], "acsName": "acs"})


def test_what_must_be_one_of_a_list_is_given_as_the_compiler_takes_it() -> None:
    """From a parameter, or by any(): what a function makes is no value of a list to it.

    https://github.com/Azure/bicep/issues/4373
    """
    text = MAIN.read_text()
    module = re.compile(r"(?ms)^module \w+ '(.*?)' .*?params: {\n(.*?)^  }")
    given = [
        value
        for file, params in module.findall(text)
        for name, each in plan.parameters(DEPLOY / file).items()
        if "allowed" in each.limits
        for value in re.findall(rf"^    {name}: (.*)$", params, re.MULTILINE)
    ]

    assert len(given) == 5
    declared = plan.parameters(MAIN)
    assert [each for each in given if each not in declared and "any(" not in each] == []


NEEDED_AT_TIMES: dict[str, Any] = {
    "webhookEndpoint": "https://a.example/api/events",
    "sourceHosts": ["eu-api.asm.skype.com"],
}
CHOICES: dict[str, tuple[Any, Any]] = {
    "receive": ("webhook", "inbox"),
    "runsOn": ("container-apps", "cluster"),
    "acsAccess": ("key", "tokens"),
    "subscribe": (True, False),
    "systemTopicName": ("", "theirs"),
    "privateNetwork": (False, True),
    "encryptionKeyName": ("", "key"),
}


@pytest.mark.parametrize("receive", CHOICES["receive"])
def test_whatever_is_chosen_together_makes_a_whole_plan(receive: str) -> None:
    """The code reads the settings of every process, and every role is somebody's."""
    names_ = [name for name in CHOICES if name != "receive"]
    for values in itertools.product(*(CHOICES[name] for name in names_)):
        chosen = dict(zip(names_, values, strict=True)) | {"receive": receive}

        made = plan.plan(MAIN, GIVEN | NEEDED_AT_TIMES | chosen)

        for app, container in containers(made):
            use = USES.get(container["args"][0], Use.READ)
            Settings.load(environ_of(app, container), use=use)
        for each in made.of_type("Microsoft.Authorization/roleAssignments"):
            assert each.properties["principalId"], chosen


def test_broken_template_is_found(tmp_path: Path) -> None:
    """By its syntax, by a name, by a parameter of a module."""
    (tmp_path / "below.bicep").write_text("param a string\noutput b string = a\n")
    module = "module m 'below.bicep' = {\n  name: 'm'\n  params: {\n%s  }\n}\n"
    broken = [
        "param a string =\n",
        "var a = b\n",
        module % "",
        module % "    a: 'x'\n    c: 'y'\n",
        module % "    a: 'x'\n" + "var v = m.outputs.x\n",
    ]
    for number, text in enumerate(broken):
        path = tmp_path / f"{number}.bicep"
        path.write_text(text)
        with pytest.raises(PlanError):
            plan.plan(path, {})


def example(text: str) -> dict[str, Any]:
    """Each parameter of a .bicepparam file."""
    given = re.findall(r"^param (\w+) = (.+)$", text, re.MULTILINE)
    return {name: json.loads(value.replace("'", '"')) for name, value in given}


def test_example_of_parameters_is_taken_once_it_is_filled_in() -> None:
    """deploy/main.bicepparam, as deploy/README.md has it filled in."""
    text = (DEPLOY / "main.bicepparam").read_text()

    with pytest.raises(PlanError, match=r"put your names into deploy/main\.bicepparam"):
        plan.plan(MAIN, example(text))
    filled_in = text.replace("YOUR", "our").replace(NOBODY, ACCOUNTED_FOR)
    made = plan.plan(MAIN, example(filled_in) | {"subscribe": False})

    assert "using 'main.bicep'" in text
    assert made.outputs["endpoint"].startswith("https://")
    assert made.of_type("Microsoft.EventGrid/systemTopics/eventSubscriptions") == []


def containers(made: Plan) -> Iterator[tuple[Resource, dict[str, Any]]]:
    for type_ in ("Microsoft.App/containerApps", "Microsoft.App/jobs"):
        for each in made.of_type(type_):
            for container in each.properties["template"]["containers"]:
                yield each, container


def environ_of(app: Resource, container: dict[str, Any]) -> dict[str, str]:
    """What the process will find, with secrets that are to be had."""
    secrets = {
        each["name"]: each.get("value", ACS_KEY)
        for each in app.properties["configuration"]["secrets"]
    }
    found = [
        (each["name"], each["value"] if "value" in each else secrets[each["secretRef"]])
        for each in container["env"]
    ]
    assert len(found) == len(dict(found))
    return dict(found)


@every_variant
def test_settings_of_every_process_are_whole(variant: str) -> None:
    """The code itself reads them: a wrong one would end the container with 78."""
    for app, container in containers(planned(variant)):
        verb = container["args"][0]
        environ = environ_of(app, container)
        client = environ.pop("AZURE_CLIENT_ID")

        settings = Settings.load(environ, use=USES.get(verb, Use.READ))

        assert re.fullmatch(r"[0-9a-f-]{36}", client)
        assert settings.archive_place is not None
        assert settings.archive_place.name == "recordings"
        assert settings.queue_place is not None
        assert settings.queue_place.name == "chunks"


@every_variant
def test_commands_of_every_process_are_ours(variant: str) -> None:
    """As the command line reads them."""
    lines = [" ".join(each["args"]) for _, each in containers(planned(variant))]

    for _, container in containers(planned(variant)):
        assert container["command"] == [runbook.PROGRAM]
    for line in lines:
        runbook.check(line, is_whole=True)
    expected = {"consume", "--verbose status --check"}
    assert expected <= set(lines)
    assert ("webhook" in lines) == ("inbox" not in variant)


@every_variant
def test_queues_are_those_of_the_code(variant: str) -> None:
    """All exist before anybody needs them, for nobody may make one."""
    made = planned(variant)
    queues = {
        each.name
        for each in made.of_type("Microsoft.Storage/storageAccounts/queueServices/queues")
        if not each.existing
    }  # fmt: skip
    urgent, poison = storage_queue.URGENT, storage_queue.POISON
    expected = {"chunks", f"chunks{urgent}", f"chunks{poison}"}
    scaled = {"chunks", f"chunks{urgent}"}
    if "inbox" in variant:
        expected |= {"inbox", f"inbox{inbox_queue.POISON}"}
        scaled |= {"inbox"}
    consumer = made.one("Microsoft.App/containerApps", "recordings-consumer")
    rules = consumer.properties["template"]["scale"]["rules"]
    metadata = [each["custom"]["metadata"] for each in rules]

    assert queues == expected
    assert {each["queueName"] for each in metadata} == scaled
    assert {each["queueLengthStrategy"] for each in metadata} == {"all"}
    assert all(each["custom"]["identity"] for each in rules)


def test_consumer_scales_to_zero_and_the_webhook_never_does() -> None:
    made = planned("webhook")
    replicas = {
        each.name: each.properties["template"]["scale"]["minReplicas"]
        for each in made.of_type("Microsoft.App/containerApps")
    }

    assert replicas == {"recordings-consumer": 0, "recordings-webhook": 2}
    assert plan.parameters(MAIN)["webhookMinReplicas"].limits["minValue"] == 1


@every_variant
def test_stop_leaves_more_time_than_it_takes(variant: str) -> None:
    for app, container in containers(planned(variant)):
        settings = environ_of(app, container)
        drain = int(settings.get("WORKER_DRAIN_SECONDS", DRAIN))
        if app.type == "Microsoft.App/containerApps":
            grace = app.properties["template"]["terminationGracePeriodSeconds"]
            assert stops.longest_seconds(drain) <= grace <= 600


def test_probes_are_those_of_the_endpoint() -> None:
    webhook = planned("webhook").one(
        "Microsoft.App/containerApps", "recordings-webhook"
    )
    (container,) = webhook.properties["template"]["containers"]
    ingress = webhook.properties["configuration"]["ingress"]
    probes = {each["type"]: each["httpGet"] for each in container["probes"]}
    listen = environ_of(webhook, container)["WORKER_LISTEN"]
    port = int(listen.rpartition(":")[2])

    assert probes["Liveness"] == {"path": "/livez", "port": port}
    assert probes["Readiness"] == {"path": "/readyz", "port": port}
    assert ingress["targetPort"] == port
    assert ingress["external"]
    assert not ingress["allowInsecure"]


def test_probes_are_of_the_shape_that_container_apps_take() -> None:
    """One of each type, over HTTP, ports as numbers; and ten failures at most.

    https://learn.microsoft.com/azure/container-apps/health-probes#restrictions
    """
    for app in planned("webhook").of_type("Microsoft.App/containerApps"):
        (container,) = app.properties["template"]["containers"]
        probes = container["probes"]
        types = [each["type"] for each in probes]

        assert len(types) == len(set(types))
        for each in probes:
            assert each.keys() >= {"httpGet", "periodSeconds", "failureThreshold"}
            assert isinstance(each["httpGet"]["port"], int)
            assert 1 <= each["failureThreshold"] <= 10
            assert 1 <= each["timeoutSeconds"] <= each["periodSeconds"] <= 240


def test_deletion_is_off_until_somebody_says_otherwise() -> None:
    consumer = planned("webhook").one(
        "Microsoft.App/containerApps", "recordings-consumer"
    )
    (container,) = consumer.properties["template"]["containers"]

    assert environ_of(consumer, container)["WORKER_DELETE_SOURCE"] == "never"


TELEMETRY = {
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
}


SECRET_PARAMETERS = [
    (MAIN, "otlpHeaders"),
    *(
        (DEPLOY / "azure" / f"{name}.bicep", "telemetry")
        for name in ("consumer", "jobs", "webhook")
    ),
]


@every_variant
def test_every_process_sends_metrics_and_traces_where_it_is_told_to(
    variant: str,
) -> None:
    """Apps and jobs; to nobody unless somebody is named."""
    expected = TELEMETRY if "all else" in variant else set()

    for app, container in containers(planned(variant)):
        environ = environ_of(app, container)
        assert TELEMETRY & environ.keys() == expected
        if expected:
            assert environ["OTEL_EXPORTER_OTLP_HEADERS"] == EVERYTHING["otlpHeaders"]
            settings = Settings.load(environ, use=Use.READ)
            assert settings.application_insights is not None
            assert settings.traces_endpoint is not None


def test_secrets_of_telemetry_are_secrets_of_the_apps_and_nowhere_else() -> None:
    """Neither in the environment, which anybody sees who may see the app, nor in an output."""
    made = planned("webhook, all else")
    for app, container in containers(made):
        secret = {each["name"] for each in container["env"] if "secretRef" in each}
        assert secret >= TELEMETRY - {"OTEL_EXPORTER_OTLP_ENDPOINT"}
        bare = json.dumps([container["env"], app.properties["template"]["containers"]])
        assert str(EVERYTHING["otlpHeaders"]) not in bare
        assert "InstrumentationKey" not in bare
    assert "InstrumentationKey" not in json.dumps(made.outputs)
    for file in FILES:
        assert not re.search(
            r"^output .*(?:ConnectionString|Headers)", file.read_text(), re.MULTILINE
        )
    for file, name in SECRET_PARAMETERS:
        assert "secure" in plan.parameters(file)[name].limits


def test_what_reads_application_insights_waits_for_it() -> None:
    """An existing resource is waited for by nobody unless it is said."""
    text = MAIN.read_text()
    modules = re.findall(r"(?ms)^module \w+ '.*?^}", text)
    reading = [each for each in modules if "telemetry: telemetry" in each]

    assert len(reading) == 3
    for each in reading:
        assert re.search(r"(?s)dependsOn: \[.*?\binsights$", each, re.MULTILINE)


def subscription(variant: str) -> Resource:
    (found,) = planned(variant).of_type(
        "Microsoft.EventGrid/systemTopics/eventSubscriptions"
    )
    return found


def test_subscription_is_the_one_that_is_rehearsed() -> None:
    """deploy/event-subscription.json is what the stand-in for Event Grid delivers by."""
    rehearsed = json.loads((DEPLOY / "event-subscription.json").read_text())
    ours = subscription("webhook").properties
    dead_letters = ours["deadLetterWithResourceIdentity"]["deadLetterDestination"]

    for name in ("eventDeliverySchema", "filter", "retryPolicy"):
        assert ours[name] == rehearsed[name]
    batches = rehearsed["destination"]["properties"]
    assert batches.items() <= ours["destination"]["properties"].items()
    container = rehearsed["deadLetterDestination"]["properties"]["blobContainerName"]
    assert dead_letters["properties"]["blobContainerName"] == container


def test_webhook_is_delivered_to_with_tokens() -> None:
    made = planned("webhook")
    destination = subscription("webhook").properties["destination"]["properties"]
    webhook = made.one("Microsoft.App/containerApps", "recordings-webhook")
    (container,) = webhook.properties["template"]["containers"]
    environ = environ_of(webhook, container)
    application = destination["azureActiveDirectoryApplicationIdOrUri"]

    assert destination["endpointUrl"] == made.outputs["endpoint"]
    assert application in environ["WORKER_WEBHOOK_ENTRA_AUDIENCES"].split(",")
    tenant = destination["azureActiveDirectoryTenantId"]
    assert environ["WORKER_WEBHOOK_ENTRA_TENANT"] == tenant
    (topic,) = planned("webhook").of_type("Microsoft.EventGrid/systemTopics")[:1]
    assert environ["WORKER_EVENT_TOPICS"] == topic.properties["source"]


def test_inbox_is_delivered_to_with_an_identity_and_keeps_what_nobody_fetches() -> None:
    said = subscription("inbox").properties
    delivery = said["deliveryWithResourceIdentity"]

    assert "destination" not in said
    assert delivery["destination"]["properties"]["queueName"] == "inbox"
    to_live = delivery["destination"]["properties"]["queueMessageTimeToLiveInSeconds"]
    assert to_live == -1
    assert delivery["identity"]["userAssignedIdentity"].endswith("/recordings-events")


def test_existing_topic_is_left_as_it_is() -> None:
    """Azure allows one system topic per source."""
    made = planned("webhook, all else")
    (topic,) = made.of_type("Microsoft.EventGrid/systemTopics")

    assert topic.existing
    assert subscription("webhook, all else").id.startswith(topic.id)
    assert "/resourceGroups/other/" in topic.id


def assignments(made: Plan, who: str) -> list[Resource]:
    (identity,) = (
        each
        for each in made.of_type("Microsoft.ManagedIdentity/userAssignedIdentities")
        if each.name == f"recordings-{who}"
    )
    principal = plan.principal_of(identity)
    return [
        each
        for each in made.of_type("Microsoft.Authorization/roleAssignments")
        if each.properties["principalId"] == principal
    ]


def role_of(made: Plan, assignment: Resource) -> str:
    """By its name in ROLES, or that of a role of ours."""
    id_ = assignment.properties["roleDefinitionId"]
    ours = {
        each.id: each.properties["roleName"].split()[1]
        for each in made.of_type("Microsoft.Authorization/roleDefinitions")
    }
    built_in = {id_: name for name, id_ in ROLES.items()}
    return ours.get(id_) or built_in[id_.rpartition("/")[2]]


def granted(variant: str, who: str) -> set[tuple[str, str]]:
    """Each role, and the last part of what it is for."""
    made = planned(variant)
    return {
        (role_of(made, each), each.scope.rpartition("/")[2])
        for each in assignments(made, who)
    }


def test_every_identity_has_the_least_roles() -> None:
    """All of them: what is added later is added here too."""
    assert granted("webhook", "webhook") == {
        ("announcer", "recordings"),
        ("storageQueueDataMessageSender", "chunks"),
        ("storageQueueDataMessageSender", "chunks-urgent"),
    }
    assert granted("webhook", "consumer") == {
        ("archiver", "recordings"),
        ("keyVaultSecretsUser", "acs-connection-string"),
        ("storageQueueDataContributor", "chunks"),
        ("storageQueueDataContributor", "chunks-urgent"),
        ("storageQueueDataContributor", "chunks-poison"),
    }
    assert granted("webhook", "checker") == {
        ("storageBlobDataReader", "recordings"),
        ("storageQueueDataReader", "chunks"),
        ("storageQueueDataReader", "chunks-urgent"),
        ("storageQueueDataReader", "chunks-poison"),
    }
    assert granted("webhook", "events") == {
        ("storageBlobDataContributor", "dead-letters")
    }
    assert granted("webhook", "keys") == set()
    assert granted("inbox", "events") == {
        ("storageBlobDataContributor", "dead-letters"),
        ("storageQueueDataMessageSender", "inbox"),
    }
    assert ("communicationAndEmailServiceOwner", "acs") in granted(
        "webhook, all else", "consumer"
    )


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_right_of_an_identity_that_is_made_anew_is_another(file: Path) -> None:
    """Of the same name it would be refused: nobody may hand an assignment on."""
    assignment = r"(?ms)^resource \w+ 'Microsoft\.Authorization/roleAssignments@.*?^}"
    for each in re.findall(assignment, file.read_text()):
        (principal,) = re.findall(r"principalId: (\w+)", each)
        (name,) = re.findall(r"name: guid\((.*)\)", each)
        assert principal in name.split(", ")


@every_variant
def test_no_role_is_of_a_whole_account_or_group(variant: str) -> None:
    whole = {"storageAccounts", "resourceGroups", "subscriptions", "vaults"}
    for each in planned(variant).of_type("Microsoft.Authorization/roleAssignments"):
        assert each.scope.split("/")[-2] not in whole


def test_nobody_may_delete_from_the_archive() -> None:
    made = planned("webhook, all else")
    for role in made.of_type("Microsoft.Authorization/roleDefinitions"):
        (permissions,) = role.properties["permissions"]
        assert permissions["actions"] == []
        actions = set(permissions["dataActions"])
        assert actions <= {
            f"{DATA}/read",
            f"{DATA}/add/action",
            f"{DATA}/write",
            f"{DATA}/tags/write",
            f"{DATA}/immutableStorage/runAsSuperUser/action",
        }


def test_public_half_sees_neither_recordings_nor_receipts() -> None:
    """What it reads and writes is what the code of the webhook asks for."""
    made = planned("webhook")
    (assignment,) = (
        each
        for each in assignments(made, "webhook")
        if role_of(made, each) == "announcer"
    )
    condition = assignment.properties["condition"]
    prefixes = r"@\w+\[[^\]]*:(?:path|prefix)\] StringStartsWith '([^']*)'"
    clauses = re.findall(prefixes, condition)
    reads, lists, writes = (
        set(clauses[start:end]) for start, end in ((0, 4), (4, 7), (7, 9))
    )

    assert len(clauses) == 9
    assert writes == {ledger_names.ROOT, names.QUARANTINE}
    assert reads == writes | {"control/", f"{object_names.STAGING}/"}
    assert lists == writes | {"control/"}
    for action in ("read", "write", "add/action"):
        assert f"ActionMatches{{'{DATA}/{action}'}}" in condition
    assert condition.count("(") == condition.count(")")
    assert assignment.properties["conditionVersion"] == "2.0"


def test_account_takes_no_keys_and_keeps_what_was_deleted() -> None:
    made = planned("webhook")
    (account,) = (
        each
        for each in made.of_type("Microsoft.Storage/storageAccounts")
        if not each.existing
    )
    (blobs,) = (
        each
        for each in made.of_type("Microsoft.Storage/storageAccounts/blobServices")
        if not each.existing
    )
    said = account.properties

    assert not said["allowSharedKeyAccess"]
    assert not said["allowBlobPublicAccess"]
    assert said["minimumTlsVersion"] == "TLS1_2"
    assert blobs.properties["isVersioningEnabled"]
    assert blobs.properties["deleteRetentionPolicy"] == {"enabled": True, "days": 30}
    assert re.fullmatch(r"[a-z0-9]{3,24}", account.name)


def test_private_account_is_reached_through_both_its_endpoints() -> None:
    made = planned("webhook, all else")
    endpoints = made.of_type("Microsoft.Network/privateEndpoints")
    (account,) = (
        each
        for each in made.of_type("Microsoft.Storage/storageAccounts")
        if not each.existing
    )
    groups = [
        connection["properties"]["groupIds"]
        for each in endpoints
        for connection in each.properties["privateLinkServiceConnections"]
    ]

    assert groups == [["blob"], ["queue"]]
    assert account.properties["networkAcls"] == {
        "bypass": "AzureServices",
        "defaultAction": "Deny",
    }


def test_lifecycle_leaves_what_proves_and_what_is_dead() -> None:
    """Receipts, holds, tombstones stay where they can be read, whatever is asked for."""
    (policy,) = planned("webhook, all else").of_type(
        "Microsoft.Storage/storageAccounts/managementPolicies"
    )
    rules = {
        each["name"]: each["definition"]
        for each in policy.properties["policy"]["rules"]
    }
    prefixes = {
        name: set(each["filters"]["prefixMatch"]) for name, each in rules.items()
    }

    assert prefixes["recordings-to-cool"] == {"recordings/recordings/"}
    assert prefixes["recordings-to-archive"] == {"recordings/recordings/"}
    assert prefixes["forget-announced"] == {
        f"recordings/{each}"
        for each in (
            ledger_names.DELIVERIES,
            ledger_names.RECORDINGS,
            ledger_names.DOCUMENTS,
            ledger_names.DUE,
        )
    }


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_versions_of_the_interface_are_stable_ones(file: Path) -> None:
    versions = set(re.findall(r"'Microsoft\.[\w./]+@([^']+)'", file.read_text()))

    stable = re.compile(r"20\d\d-\d\d-\d\d")
    assert [each for each in versions if not stable.fullmatch(each)] == []


def alarms(variant: str) -> list[Resource]:
    made = planned(variant)
    return [
        *made.of_type("Microsoft.Insights/metricAlerts"),
        *made.of_type("Microsoft.Insights/scheduledQueryRules"),
    ]


def groups_of(alarm: Resource) -> set[str]:
    actions = alarm.properties["actions"]
    if isinstance(actions, dict):
        return set(actions["actionGroups"])
    return {each["actionGroupId"] for each in actions}


def test_every_alert_is_mailed_and_sent_to_whom_is_named() -> None:
    """And to nobody unless somebody is named."""
    variant = "webhook, all else"
    (mails,) = planned(variant).of_type("Microsoft.Insights/actionGroups")
    (receiver,) = mails.properties["emailReceivers"]

    assert receiver["emailAddress"] == EVERYTHING["alertEmail"]
    for each in alarms(variant):
        assert groups_of(each) == {mails.id, EVERYTHING["actionGroupId"]}
    assert planned("webhook").of_type("Microsoft.Insights/actionGroups") == []
    assert {len(groups_of(each)) for each in alarms("webhook")} == {0}


def test_every_alert_leads_to_the_runbook_that_is_named() -> None:
    for each in alarms("webhook, all else"):
        assert f"{EVERYTHING['runbookUrl']}#recording" in each.properties["description"]


CLUSTER = {
    "runsOn": "cluster",
    "acsName": "acs",
    "webhookApplicationId": ACCOUNTED_FOR,
    "webhookEndpoint": "https://recordings.example.org/api/events",
}


@pytest.mark.parametrize("receive", ["webhook", "inbox"])
def test_cluster_gets_all_but_what_runs(receive: str) -> None:
    """The same storage, roles and subscription; no app, no job, no vault is asked for."""
    here = planned("webhook" if receive == "webhook" else "inbox")
    made = plan.plan(MAIN, CLUSTER | {"receive": receive, "registryName": "acr"})
    types = {each.type for each in made.resources}
    roles = "Microsoft.Authorization/roleAssignments"
    (subscribed,) = made.of_type("Microsoft.EventGrid/systemTopics/eventSubscriptions")

    assert {each for each in types if each.startswith("Microsoft.App/")} == set()
    assert "Microsoft.OperationalInsights/workspaces" not in types
    assert {each.scope for each in made.of_type(roles)} == {
        each.scope for each in here.of_type(roles) if "/vaults/" not in each.scope
    }
    if receive == "webhook":
        destination = subscribed.properties["destination"]["properties"]
        assert destination["endpointUrl"] == CLUSTER["webhookEndpoint"]
    assert made.outputs["acsId"].endswith("/communicationServices/acs")
    assert bool(made.outputs["webhookClientId"]) == (receive == "webhook")


def test_cluster_has_the_alerts_that_azure_alone_can_tell() -> None:
    """Event Grid's and the storage's; Prometheus has what the workers say."""
    made = plan.plan(MAIN, CLUSTER)
    scopes = {
        scope.split("/")[-2]
        for each in made.of_type("Microsoft.Insights/metricAlerts")
        for scope in each.properties["scopes"]
    }

    assert scopes == {"systemTopics", "storageAccounts"}
    assert made.of_type("Microsoft.Insights/scheduledQueryRules") == []


@pytest.mark.parametrize("variant", ["inbox", "inbox, all else"])
def test_inbox_leaves_nothing_of_the_webhook(variant: str) -> None:
    """Neither an app, nor an alert over one that is not there, nor any right."""
    made = planned(variant)
    apps = [each.name for each in made.of_type("Microsoft.App/containerApps")]
    names_ = {
        each.name
        for each in made.of_type("Microsoft.ManagedIdentity/userAssignedIdentities")
    }
    scopes = {
        scope.split("/")[-2]
        for each in made.of_type("Microsoft.Insights/metricAlerts")
        for scope in each.properties["scopes"]
    }

    assert apps == ["recordings-consumer"]
    assert made.outputs["endpoint"] == ""
    assert "recordings-webhook" not in names_
    assert scopes == {"systemTopics", "storageAccounts"}
