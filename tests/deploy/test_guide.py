"""deploy/README.md, followed from nothing: what its commands are given is there."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests import documents
from tests.deploy import plan, test_bicep
from worker.settings import Settings
from worker.settings_rules import Use

DEPLOY = Path(__file__).parents[2] / "deploy"
GUIDE = (DEPLOY / "README.md").read_text(encoding="utf-8")
EXAMPLE = (DEPLOY / "main.bicepparam").read_text(encoding="utf-8")
MAIN = (DEPLOY / "main.bicep").read_text(encoding="utf-8")
SHELL = "/bin/sh"
AZ = """exec 3>&2; az() { printf '%s\\n' "$*" >&3; case "$*" in
  "ad app create"*) echo APP;;
  "ad sp "*"--id APP "*) told ENDPOINT "$@";;
  "ad sp "*) told GRID "$@";;
esac; }
told() { test "$4" = "$there" || test "$4" = create && echo "$1"; }
me=ME
"""
"""Tells what it was asked for, one line each, and what the next line needs."""


def commands() -> str:
    """All that is typed, each on one line."""
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    return re.sub(r"\s*\\\n\s*", " ", "\n".join(blocks))


def test_version_that_the_commands_take_is_said() -> None:
    """Values beside a .bicepparam in one --parameters came with 2.61.0.

    https://github.com/Azure/azure-cli/pull/28826
    """
    assert re.search(r"--parameters \S+\.bicepparam \w+=", commands())
    assert "`az` 2.61 or later" in GUIDE


@pytest.mark.parametrize(
    ("name", "command"),
    [("communication", "communication "), ("log-analytics", "monitor log-analytics q")],
)
@pytest.mark.parametrize("document", documents.DOCUMENTS, ids=documents.named)
def test_extension_is_there_before_its_output_goes_elsewhere(
    document: Path, name: str, command: str
) -> None:
    """az asks on its output whether it may install one: into a file, or unseen."""
    typed = "\n".join(documents.shell_blocks(document))
    first = re.search(rf"\$\(\s*az {command}|^ *az {command}.* > ", typed, re.MULTILINE)

    assert (
        first is None or f"az extension add --name {name}\n" in typed[: first.start()]
    )


@pytest.mark.parametrize("document", documents.DOCUMENTS, ids=documents.named)
def test_subscriptions_made_by_hand_are_as_the_rehearsed_one(document: Path) -> None:
    """Event Grid's own 24 hours to live, without dead letters, are a recording lost."""
    said = json.loads((DEPLOY / "event-subscription.json").read_text(encoding="utf-8"))
    batches = said["destination"]["properties"]
    container = said["deadLetterDestination"]["properties"]["blobContainerName"]
    expected = (
        f"--event-ttl {said['retryPolicy']['eventTimeToLiveInMinutes']} ",
        f"--max-delivery-attempts {said['retryPolicy']['maxDeliveryAttempts']} ",
        f"--event-delivery-schema {said['eventDeliverySchema']} ",
        f"--max-events-per-batch {batches['maxEventsPerBatch']} ",
        f"--preferred-batch-size-in-kilobytes {batches['preferredBatchSizeInKilobytes']} ",
        f"--included-event-types {' '.join(said['filter']['includedEventTypes'])} ",
        f'/containers/{container}" ',
    )
    typed = re.sub(r" *\\\n *", " ", "\n".join(documents.shell_blocks(document)))

    for each in re.findall(r"event-subscription create .*", typed):
        assert [option for option in expected if option not in each] == []


@pytest.mark.parametrize("document", documents.DOCUMENTS, ids=documents.named)
def test_commands_for_storage_name_the_account(document: Path) -> None:
    """Without it az asks for a connection string, which this account does not take."""
    typed = [*documents.codes(document), *documents.shell_blocks(document)]
    lines = "\n".join(typed).replace("\\\n", "").splitlines()
    data = re.compile(r"az storage (?:blob|container|queue|message) [a-z- ]+ --.*")
    found = [each for line in lines for each in data.findall(line)]

    assert [each for each in found if "--account-name" not in each] == []
    assert [each for each in found if "--auth-mode login" not in each] == []


def test_only_the_first_deployment_says_more_than_the_file() -> None:
    """What is said beside it is forgotten by the next one: a newer image would undo it."""
    deployments = re.findall(r"az deployment group .*--parameters (.*)", commands())
    example = re.findall(r"^param (\w+) = (\S+)$", EXAMPLE, re.MULTILINE)

    assert set(deployments) == {
        "deploy/main.bicepparam subscribe=false",
        "deploy/main.bicepparam",
    }
    assert ("subscribe", "true") in example
    assert "`deleteSource = 'after-recording'` in `deploy/main.bicepparam`" in GUIDE


def test_outputs_that_later_commands_ask_for_are_there() -> None:
    assert "told() { az deployment group show" in commands()
    asked = set(re.findall(r"\$\(told (\w+)\)", commands()))
    told = set(re.findall(r"the outputs? `(\w+)`", GUIDE))

    assert asked >= {"endpoint", "archive", "queue"}
    assert asked | told <= set(re.findall(r"^output (\w+) ", MAIN, re.MULTILINE))


def test_guide_is_one_page() -> None:
    """Commands and all; what else there is to know stands where it is needed."""
    assert len(GUIDE.split()) < 1100


def test_nobody_is_paged_by_what_was_taken_away() -> None:
    """The alert over the missing check would ring for ever: alerts go before the jobs do."""
    typed = commands()
    (prefix,) = re.findall(r"starts_with\(name, '([^']+)'\)", typed)
    made = plan.plan(DEPLOY / "main.bicep", test_bicep.GIVEN)
    alarms = {"metricAlerts", "scheduledQueryRules"}
    found = {
        each.type.rpartition("/")[2]
        for each in made.resources
        if each.name.startswith(prefix)
    }
    others = {
        each.name
        for each in made.resources
        if each.type.rpartition("/")[2] in alarms and not each.name.startswith(prefix)
    }

    assert (found, others) == (alarms, set())
    assert typed.index("az resource delete") < typed.index("az containerapp job delete")


def test_parameters_that_the_page_names_are_there() -> None:
    """With all that has to be filled in."""
    there = plan.parameters(DEPLOY / "main.bicep").keys()
    named = set(re.findall(r"`(\w+)(?: = [^`]+)?`", GUIDE))
    needed = {"alertEmail", "runbookUrl", "sourceHosts", "systemTopicName"}
    needed |= {"applicationInsights", "otlpEndpoint", "acsResourceGroup"}
    needed |= {"runsOn", "webhookEndpoint", "webhookApplicationId"}

    assert needed <= named & there


def test_image_that_application_insights_takes_is_said() -> None:
    """Without that extra each container ends with 78, and says what to install."""
    extra = "EXTRAS=azure-monitor"

    assert (DEPLOY / "requirements-azure-monitor.txt").exists()
    assert f"--build-arg {extra}" in GUIDE
    described = plan.parameters(DEPLOY / "main.bicep")["applicationInsights"].limits
    assert extra in described["description"]


def test_looking_takes_no_more_than_the_roles_that_the_guide_gives() -> None:
    """A report is written, and a reader's right ends there."""
    looked = re.findall(
        r"recording-worker recordings (?:verify|reconcile) .*", commands()
    )

    assert "Contributor" not in commands()
    assert looked
    assert [line for line in looked if "--no-report" not in line] == []


@pytest.mark.parametrize("there", ["show", ""])
def test_application_is_made_for_event_grid_and_for_who_subscribes(there: str) -> None:
    """As Microsoft's script makes it: the role, and who is given it.

    Again, and where Event Grid was never used: who is not known to the tenant is made known.
    https://learn.microsoft.com/azure/event-grid/secure-webhook-delivery
    """
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    (typed,) = (each for each in blocks if "appRoleAssignedTo" in each)
    ended = subprocess.run(  # noqa: S603 - what the guide says, with an az of ours
        [SHELL, "-euc", f"there={there}\n{AZ}{typed}"],
        capture_output=True,
        check=True,
        text=True,
        timeout=30,
    )
    create, *asked = ended.stderr.splitlines()
    (role,) = json.loads(create.partition("--app-roles ")[2])
    bodies = [
        json.loads(each.partition("--body ")[2]) for each in asked if "--body" in each
    ]
    callers = Settings.load({}, use=Use.READ).webhook_entra_callers

    assert ended.stdout.splitlines()[-1] == "APP"
    assert role["value"] == "AzureEventGridSecureWebhookSubscriber"
    assert set(role["allowedMemberTypes"]) == {"Application", "User"}
    assert role["isEnabled"] is True
    assert any(f"ad sp show --id {each} " in ended.stderr for each in callers)
    assert [each["principalId"] for each in bodies] == ["GRID", "ME"]
    for each in bodies:
        assert each["resourceId"] == "ENDPOINT"
        assert each["appRoleId"] == role["id"]
