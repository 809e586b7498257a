"""deploy/README.md, followed from nothing: what its commands are given is there."""

import re
from pathlib import Path

from tests.deploy import plan

DEPLOY = Path(__file__).parents[2] / "deploy"
GUIDE = (DEPLOY / "README.md").read_text(encoding="utf-8")
EXAMPLE = (DEPLOY / "main.bicepparam").read_text(encoding="utf-8")
MAIN = (DEPLOY / "main.bicep").read_text(encoding="utf-8")


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
