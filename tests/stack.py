"""`make demo-stack`: webhook, two consumers, Azurite and the stand-ins as processes.

All samples are delivered, the hostile and the malformed too; then each must have come to the
end that it has to come to, and the numbers of each process must have moved. Exit 0 if so.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from samples import events_dir
from samples.addressing import addressed
from samples.event_grid import events_in, schema_of
from tests import azurite as emulator
from tests.e2e import worker_process
from tests.e2e.worker_process import WorkerProcess
from worker import opening
from worker.model import ChunkState
from worker.settings import Settings
from worker.settings_rules import Use
from worker.telemetry import instruments

ROOT = Path(__file__).parents[1]
PYTHON = (sys.executable,)
SETTINGS = ROOT / "deploy/event-subscription.json"
KEY = "rehearsal"
QUARANTINED = 400
NEVER_SENT = {
    "malformed/bad-json.json": QUARANTINED,
    "malformed/empty-array.event-grid.json": QUARANTINED,
    "malformed/not-an-event.json": QUARANTINED,
}
"""What Event Grid could not send, and what whoever posts it is answered."""
DEAD = {
    "../../../../etc/cron.d/owned",
    *(
        f"0-eus-d12-{number}"
        for number in (
            "238e0818eb749f70d847f3ff059f328f",
            "68480b639447e9bcc398c948a10f9afc",
            "74e95d1acfa979db420c4f576e172a6e",
        )
    ),
}
"""Of samples/events/hostile: no credential goes to where they lead."""
DEAD_REASON = "host-not-allowed"
WAITING = {
    "0-eus-d12-22b190bd522436efb97edb874ad36514",
    "0-eus-d12-fd37313903a561783b993b60d62eb001",
}
"""Of gap.event-grid.json: home, and waiting for a chunk that nobody announces."""
LOOK_AGAIN_SECONDS = 0.5
PATIENCE_SECONDS = 150
SHOWN = (
    instruments.DELIVERIES,
    instruments.EVENTS,
    instruments.CHUNKS,
    instruments.BYTES,
    instruments.DEAD_LETTERS,
)
SPLIT_BY = ("outcome", "direction")
Numbers = dict[tuple[str, str], float]
"""By metric and by what it is split by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """What runs; `source` is where the stand-in for ACS says that its media are."""

    settings: dict[str, str]
    source: str
    workers: dict[str, WorkerProcess]

    async def numbers(self) -> dict[str, Numbers]:
        """What each process counts, as Prometheus sees it."""
        async with aiohttp.ClientSession() as session:
            return {
                name: await _scraped(session, worker)
                for name, worker in self.workers.items()
            }


@asynccontextmanager
async def started(folder: Path) -> AsyncIterator[Stack]:
    """Start all of it on free ports of loopback; all of it ends with the body."""
    async with AsyncExitStack() as stack:
        azurite = stack.enter_context(emulator.running())
        acs = await stack.enter_async_context(
            worker_process.running(
                *("-m", "samples.acs"), environment={}, folder=ROOT, command=PYTHON
            )
        )
        await acs.wait_until(lambda: "\n" in acs.out)
        ready = json.loads(acs.out)
        settings = {
            "AZURE_COMMUNICATION_CONNECTION_STRING": ready["connection_string"],
            "AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string,
            "WORKER_ARCHIVE": azurite.container("recordings"),
            "WORKER_QUEUE": azurite.queue("chunks"),
            "WORKER_SOURCE_HOSTS": f"{ready['global_host']},{ready['regional_host']}",
            "WORKER_WEBHOOK_KEYS": KEY,
            "WORKER_LISTEN": "127.0.0.1:0",
            "WORKER_ADMIN_LISTEN": "127.0.0.1:0",
        }
        verbs = {"webhook": "webhook", "consumer-1": "consume", "consumer-2": "consume"}
        workers = {
            name: await stack.enter_async_context(
                worker_process.running(
                    verb,
                    environment={**settings, "WORKER_INSTANCE": name},
                    folder=folder,
                )
            )
            for name, verb in verbs.items()
        }
        for worker in workers.values():
            await worker.wait_for("worker.started")
        source = f"http://{ready['global_host']}"
        yield Stack(settings=settings, source=source, workers=workers)


async def _scraped(session: aiohttp.ClientSession, worker: WorkerProcess) -> Numbers:
    line = await worker.wait_for("admin.listening")
    async with session.get(f"{line['listen']}/metrics") as answer:
        text = await answer.text()
    names = {instrument.prometheus[0] for instrument in SHOWN}
    numbers: Numbers = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in names:
                what = " ".join(sample.labels.get(each, "") for each in SPLIT_BY)
                key = (sample.name, what.strip())
                numbers[key] = numbers.get(key, 0) + sample.value
    return numbers


def _files() -> dict[str, list[Path]]:
    """All samples that Event Grid can send, by the schema that it sends them in."""
    by_schema: dict[str, list[Path]] = {"eventgrid": [], "cloudevents": []}
    for path in sorted(events_dir().rglob("*.json")):
        if path.relative_to(events_dir()).as_posix() not in NEVER_SENT:
            events = events_in(json.loads(path.read_bytes()))
            by_schema[schema_of(events[0])].append(path)
    return by_schema


async def deliver(stack: Stack) -> list[str]:
    """Deliver all samples; returns what went otherwise than it has to."""
    url = await stack.workers["webhook"].url()
    problems = []
    for schema, files in _files().items():
        batched = ("--settings", str(SETTINGS)) if schema == "eventgrid" else ()
        ended = await worker_process.run(
            *("-m", "samples.event_grid", url, *map(str, files)),
            *("--schema", schema, "--source", stack.source),
            *("--header", f"x-functions-key={KEY}", *batched),
            environment={},
            folder=ROOT,
            command=PYTHON,
        )
        if ended.code:
            problems.append(f"delivery in {schema}: {ended.out}{ended.err}")
    async with aiohttp.ClientSession(headers={"x-functions-key": KEY}) as session:
        for name, expected in NEVER_SENT.items():
            body = await asyncio.to_thread((events_dir() / name).read_bytes)
            there = addressed(body, stack.source)
            async with session.post(url, data=there) as answer:
                if answer.status != expected:
                    problems.append(f"{name}: answered {answer.status}")
    return problems


async def wait_until_home(settings: Mapping[str, str]) -> dict[str, str]:
    """Wait until nothing is left to do; each document's state, with the reason of a dead one."""
    ends: dict[str, str] = {}
    read = Settings.load(settings, use=Use.READ)
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        opening.open_queue(read, create=False) as q,
    ):
        while True:
            entries = await q.list(limit=100_000)
            ends = {
                each.chunk.document_id: f"{each.state} {each.reason or ''}".strip()
                for each in entries
            }
            at_work = {
                each.chunk.document_id
                for each in entries
                if each.settled_at is None and each.state != ChunkState.DEAD
            }
            running = {
                each.chunk.document_id
                for each in entries
                if each.state in {ChunkState.PENDING, ChunkState.LEASED}
            }
            if entries and not running and at_work <= WAITING:
                return ends
            await asyncio.sleep(LOOK_AGAIN_SECONDS)


def wrong_ends(ends: Mapping[str, str]) -> list[str]:
    """What came to another end than it has to; the rest is home."""
    expected = dict.fromkeys(DEAD, f"{ChunkState.DEAD} {DEAD_REASON}")
    home = {ChunkState.DELETED.value, ChunkState.ARCHIVED.value}
    wrong = [
        f"{document} is {end}"
        for document, end in ends.items()
        if (end != expected[document] if document in expected else end not in home)
    ]
    return wrong + [f"{document} is missing" for document in DEAD - ends.keys()]


def table_of(before: dict[str, Numbers], after: dict[str, Numbers]) -> Table:
    """How the numbers of each process moved."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("metric")
    table.add_column("of")
    for name in after:
        table.add_column(name, justify="right")
    rows = sorted({key for numbers in after.values() for key in numbers})
    for key in rows:
        moved = [
            _moved(before[name].get(key, 0), numbers.get(key, 0))
            for name, numbers in after.items()
        ]
        table.add_row(key[0].removeprefix("recording_worker_"), key[1], *moved)
    return table


def _moved(before: float, after: float) -> str:
    return f"{before:,.0f} → {after:,.0f}" if after != before else f"{after:,.0f}"


async def rehearse(folder: Path, console: Console) -> list[str]:
    """Run all of it; returns what was wrong."""
    async with started(folder) as stack:
        console.print("started: Azurite, ACS's stand-in, webhook, two consumers")
        before = await stack.numbers()
        problems = await deliver(stack)
        console.print("delivered: all of samples/events; bringing the chunks home ...")
        ends = await wait_until_home(stack.settings)
        after = await stack.numbers()
        console.print(table_of(before, after))
        for worker in stack.workers.values():
            if code := await worker.stop():
                problems.append(f"a worker ended with {code}")
            worker.err = ""  # what it logged is told with a failure alone
    dead = [each for each, end in ends.items() if end.startswith(ChunkState.DEAD)]
    told = after["webhook"][instruments.EVENTS.prometheus[0], "chunk"]
    console.print(f"announced: {told:.0f} times a chunk, {len(ends)} of them different")
    console.print(
        f"home: {len(ends) - len(dead)} chunks; {len(WAITING)} keep their sources, as one between"
        " them was never announced"
    )
    console.print(f"dead, as they have to be: {len(dead)} hostile ones, {DEAD_REASON}")
    for name, numbers in after.items():
        if numbers == before[name]:
            problems.append(f"the numbers of {name} did not move")
    return problems + wrong_ends(ends)


def main() -> int:
    """Rehearse, and say what was wrong."""
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory() as folder:
        problems = asyncio.run(rehearse(Path(folder), console))
    for problem in problems:
        sys.stderr.write(f"error: {problem}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
