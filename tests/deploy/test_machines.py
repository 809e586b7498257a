"""compose.yaml and the units: what they name exists, and nothing has more rights than it needs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from samples.grid import command as event_grid
from samples.serve import options_from as acs_options
from tests import docs, runbook
from tests.deploy import stops
from worker import probe
from worker.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
WORKERS = {"webhook", "consumer-1", "consumer-2"}
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
OF_THE_WORKER = [path for path in UNITS if "-alert@" not in path.name]
TIMERS = sorted((DEPLOY / "systemd").glob("*.timer"))
LONGEST_STOP = stops.longest_seconds(Settings.model_fields["drain_seconds"].default)
ENVIRONMENTS = [DEPLOY / ".env.example", DEPLOY / "systemd/env.example"]
HARDENED = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "CapabilityBoundingSet": "",
    "UMask": "0077",
    "User": "recording-worker",
    "StateDirectory": "recording-worker",
    "EnvironmentFile": "/etc/recording-worker/env",
}


def unit(path: Path) -> dict[str, list[str]]:
    """All settings of a unit, each with its values in order; systemd allows several."""
    read: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith(("#", "[")):
            name, equals, value = line.partition("=")
            assert equals, line
            read.setdefault(name, []).append(value)
    return read


def named_in(path: Path) -> set[str]:
    return set(re.findall(r"^([A-Z_]+)=", path.read_text("utf-8"), re.MULTILINE))


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.parent.name)
def test_settings_of_the_examples_exist(path: Path) -> None:
    """A typo would not start."""
    assert named_in(path)
    assert named_in(path) <= set(docs.every_variable())


def test_settings_of_compose_exist() -> None:
    """And `.env` has those that a worker can't do without."""
    named = {name for each in SERVICES.values() for name in each.get("environment", {})}

    assert named <= set(docs.every_variable())
    assert {"WORKER_ARCHIVE", "WORKER_QUEUE", "WORKER_WEBHOOK_KEYS"} <= named_in(
        ENVIRONMENTS[0]
    )


@pytest.mark.parametrize("name", SERVICES)
def test_services_have_no_more_rights_than_they_need(name: str) -> None:
    """Nothing is written but to volumes and /tmp, and no rights are got."""
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108 - a container's own
    assert service["healthcheck"]


@pytest.mark.parametrize("name", sorted(WORKERS))
def test_workers_of_compose_run_commands_that_exist(name: str) -> None:
    """By the image's entry point; and they have time to drain."""
    service = SERVICES[name]

    assert "entrypoint" not in service
    runbook.check(" ".join(service["command"]), is_whole=True)
    assert int(service["stop_grace_period"].removesuffix("s")) >= LONGEST_STOP
    assert service["healthcheck"]["test"][-1] == probe.__name__


def test_container_by_hand_has_time_to_drain() -> None:
    """As the page says to start it."""
    page = (DEPLOY / "MACHINES.md").read_text(encoding="utf-8")
    told = re.findall(r"--stop-timeout (\d+)", page)

    assert [seconds for seconds in told if int(seconds) >= LONGEST_STOP]


def test_two_consumers_of_one_network_have_names_of_their_own() -> None:
    """Its host's name is theirs, and so may be the number of the process."""
    both = [SERVICES[f"consumer-{number}"]["environment"] for number in (1, 2)]

    for name in ("WORKER_INSTANCE", "WORKER_ADMIN_LISTEN"):
        assert len({each[name] for each in both}) == 2


def test_stand_ins_are_run_as_they_can_be() -> None:
    """Their options exist, and the sources of the events are the workers' hosts."""
    acs, grid = SERVICES["acs"], SERVICES["event-grid"]
    told = acs_options(acs["command"])
    (script,) = grid["command"]
    words = script.split("samples.event_grid ")[1].replace('"', "").split()
    posted = event_grid.options_from(words)

    text = ENVIRONMENTS[0].read_text(encoding="utf-8")
    hosts = f"127.0.0.1:{told.port},127.0.0.1:{told.regional_port}"
    assert f"WORKER_SOURCE_HOSTS={hosts}\n" in text
    assert posted.source == f"http://127.0.0.1:{told.port}"
    assert posted.endpoint == "http://127.0.0.1:8080/api/events"
    assert {SERVICES[each]["profiles"][0] for each in ("acs", "event-grid")} == {"demo"}


def test_azurite_is_the_one_that_the_tests_run_against() -> None:
    package = DEPLOY.parent / "tests/azurite/package.json"
    version = json.loads(package.read_bytes())["dependencies"]["azurite"]

    assert SERVICES["azurite"]["image"].endswith(f":{version}")


@pytest.mark.parametrize("path", OF_THE_WORKER, ids=lambda path: path.stem)
def test_units_run_commands_that_exist_with_no_more_rights(path: Path) -> None:
    """One user without rights, who writes to its own folder alone."""
    told = unit(path)
    (started,) = told["ExecStart"]
    program, _, line = started.replace("%%", "%").partition(" ")

    assert program == "/opt/recording-worker/bin/recording-worker"
    runbook.check(line, is_whole=True)
    assert {name: told[name] for name in HARDENED} == {
        name: [value] for name, value in HARDENED.items()
    }
    assert told["OnFailure"] == ["recording-worker-alert@%n.service"]


@pytest.mark.parametrize(
    "name",
    ["recording-worker", "recording-worker-webhook", "recording-worker-consumer@"],
)
def test_services_come_back_and_have_time_to_drain(name: str) -> None:
    """But for wrong settings, which only a person mends."""
    told = unit(DEPLOY / f"systemd/{name}.service")

    assert told["Restart"] == ["always"]
    assert told["RestartPreventExitStatus"] == ["78"]
    assert int(told["TimeoutStopSec"][0]) >= LONGEST_STOP


def test_check_and_verification_are_due_by_themselves() -> None:
    """Every 15 minutes, and every night."""
    due = {path.stem: unit(path)["OnCalendar"] for path in TIMERS}

    assert due == {
        "recording-worker-check": ["*:0/15"],
        "recording-worker-verify": ["*-*-* 02:30:00"],
    }
    assert {path.with_suffix(".service") for path in TIMERS} <= set(UNITS)
