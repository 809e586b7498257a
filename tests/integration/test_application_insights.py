"""What goes to Application Insights: where its connection string says, and nowhere else."""

import asyncio
import gzip
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.sdk.resources import Resource

from tests.collector import listening
from worker import opening
from worker.settings import Settings
from worker.settings_rules import Use
from worker.telemetry import spans
from worker.telemetry.ending import last_words
from worker.telemetry.insights import SWITCHES
from worker.telemetry.traces import open_traces

PHONING = Path(__file__).with_name("phoning.py")
NAME = "APPLICATIONINSIGHTS_CONNECTION_STRING"
KEY = "11111111-2222-4333-8444-555555555555"


@dataclass(slots=True)
class Ingestion:
    """Azure Monitor's ingestion, as far as its exporter knows it.

    https://learn.microsoft.com/azure/azure-monitor/app/data-model-complete
    """

    url: str = ""
    items: list[Any] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        items = json.loads(body)
        self.items += items
        taken = {"itemsReceived": len(items), "itemsAccepted": len(items), "errors": []}
        return web.json_response(taken)

    def metrics(self) -> dict[str, float]:
        """Each metric, whatever it is split by."""
        found: Counter[str] = Counter()
        for item in self.items:
            for metric in item["data"]["baseData"].get("metrics", []):
                found[metric["name"]] += metric["value"]
        return dict(found)


@asynccontextmanager
async def ingesting() -> AsyncIterator[Ingestion]:
    """Start one."""
    ingestion = Ingestion()
    async with listening({"/{path:.*}": ingestion.take}) as ingestion.url:
        yield ingestion


async def check_queue(tmp_path: Path, connection_string: str) -> tuple[Any, str]:
    """Run `status --check` so; returns what the process told of itself, and its stderr."""
    ours = {
        "WORKER_ARCHIVE": f"file:{tmp_path}/archive",
        "WORKER_QUEUE": f"sqlite:{tmp_path}/queue.db",
    }
    settings = Settings.load(ours, use=Use.READ)
    async with opening.open_queue(settings, create=True):
        ours[NAME] = connection_string
    inherited = {k: v for k, v in os.environ.items() if k not in SWITCHES}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(PHONING), "status", "--check"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=inherited | ours,
    )
    out, err = await process.communicate()
    return json.loads(out.splitlines()[-1]), err.decode()


async def test_metrics_reach_application_insights_and_nobody_else(
    tmp_path: Path,
) -> None:
    """No statistics to the exporter's maker, no settings from there, no question to the
    machine's metadata service: a worker phones nowhere unasked.
    """
    async with ingesting() as ingestion:
        told, err = await check_queue(
            tmp_path, f"InstrumentationKey={KEY};IngestionEndpoint={ingestion.url}/"
        )

    assert ingestion.metrics()["recording_worker.checks"] == 1, err
    assert {item["iKey"] for item in ingestion.items} == {KEY}
    assert told["called"] == ["127.0.0.1"]
    assert told["makers"] == []


async def test_traces_reach_application_insights_with_whose_they_are(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for switch in SWITCHES:
        monkeypatch.setenv(switch, "true")
    caplog.set_level(logging.WARNING, logger="azure.monitor")
    async with ingesting() as ingestion:
        text = f"InstrumentationKey={KEY};IngestionEndpoint={ingestion.url}/"
        settings = Settings.load({NAME: text}, use=Use.READ)
        resource = Resource.create({"service.name": "the-worker"})
        async with last_words(10) as last:
            with (
                open_traces(settings, resource, last),
                spans.delivery("webhook", ""),
            ):
                pass

    assert not [each for each in caplog.records if each.name.startswith("azure.")]
    assert {item["tags"]["ai.cloud.role"] for item in ingestion.items} == {"the-worker"}


@pytest.mark.parametrize(
    "wrong",
    ["secret", "InstrumentationKey=secret", "InstrumentationKey=;secret", f"a=b={KEY}"],
)
async def test_text_that_is_no_connection_string_is_told_in_a_line(
    tmp_path: Path, wrong: str
) -> None:
    """At the start, with none of the text: it is a secret."""
    told, err = await check_queue(tmp_path, wrong)

    assert told["code"] == 78
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert lines == [f"error: {NAME}: is not a connection string"]
    assert wrong not in err
