"""The processes of a benchmark, the folder that they work in, and their end.

Every process is started here, on loopback and a port of the system's choice, and ended by its
id, whatever happens. The folder lies in the checkout, on a real disk, and goes afterwards.
"""

import asyncio
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samples.acs import DEMO_CONNECTION_STRING

ROOT = Path(__file__).resolve().parents[2]
COMMAND = Path(sys.executable).with_name("recording-worker")
MIB = 1024 * 1024
POLL_SECONDS = 0.005
START_SECONDS = 30.0
STOP_SECONDS = 30.0
_FOREIGN = re.compile(r"(?i)(WORKER|AZURE|OTEL|SSL)_|\w+_PROXY$")
"""Variables of the caller's that would change what is measured."""


class BenchError(Exception):
    """What keeps a benchmark from measuring; its text is for the reader."""


@contextmanager
def workplace(*, needed_bytes: int) -> Iterator[Path]:
    """Make a folder for one run; BenchError unless the disk holds what will be written."""
    above = ROOT / ".bench"
    above.mkdir(exist_ok=True)
    free = shutil.disk_usage(above).free
    if free < needed_bytes:
        raise BenchError(
            f"{above} has {free // MIB} MiB free, {needed_bytes // MIB} MiB are needed"
        )
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=above))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # another run is in it
            above.rmdir()


def clean_environment(settings: Mapping[str, str]) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not _FOREIGN.match(name)}
    return {**kept, **settings}


@asynccontextmanager
async def running(
    arguments: Sequence[str | Path],
    *,
    settings: Mapping[str, str] | None = None,
    log: Path | None = None,
    reads: str = "",
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a process that `reads` its stdin; stderr goes to `log` or to ours. Ends it."""
    # Inherited, not read: what a busy process logs must not keep us busy as well.
    stderr = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND) if log else None
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            cwd=ROOT,
            env=clean_environment(settings or {}),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
        )
    finally:
        if stderr is not None:
            os.close(stderr)
    try:
        if process.stdin is not None:
            process.stdin.write(reads.encode())
            process.stdin.close()
        yield process
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    # A second signal cuts the drain of a worker.
    _signal(process, signal.SIGTERM)
    _signal(process, signal.SIGINT)
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        _signal(process, signal.SIGKILL)
        await process.wait()


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    # Not `send_signal`: it may reap the child, and asyncio would look for it in vain.
    with suppress(ProcessLookupError):
        os.kill(process.pid, number)


async def answer_of(arguments: Sequence[str | Path]) -> dict[str, Any]:
    """Run a process to its end and read the JSON that it prints."""
    async with running(arguments) as process:
        said, _ = await process.communicate()
    if process.returncode:
        raise BenchError(f"{arguments[2]} ended with {process.returncode}")
    answer: dict[str, Any] = json.loads(said)
    return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Acs:
    """The stand-in for ACS, as it said when it was ready."""

    global_host: str
    regional_host: str
    connection_string: str
    scheme: str


@asynccontextmanager
async def running_acs(*arguments: str | Path, tls: bool = False) -> AsyncIterator[Acs]:
    """Run the stand-in with these arguments."""
    async with running([sys.executable, "-m", "samples.acs", *arguments]) as process:
        if process.stdout is None:
            raise BenchError("the stand-in has no output")
        async with asyncio.timeout(START_SECONDS):
            line = await process.stdout.readline()
        if not line:
            raise BenchError("the stand-in did not start")
        yield Acs(**json.loads(line), scheme="https" if tls else "http")


class WorkerLog:
    """The log file of a worker, line by line, while it is written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    async def next(self, event: str) -> dict[str, Any]:
        """Wait for the next line of this event; others are passed over."""
        while True:
            line = self._next_line()
            if line is None:
                await asyncio.sleep(POLL_SECONDS)
            elif event.encode() in line:
                fields: dict[str, Any] = json.loads(line)
                return fields

    def all(self, event: str) -> list[dict[str, Any]]:
        """Every line of this event that is there now."""
        with self._path.open("rb") as lines:
            return [json.loads(line) for line in lines if event.encode() in line]

    def _next_line(self) -> bytes | None:
        with self._path.open("rb") as file:
            file.seek(self._offset)
            line = file.readline()
        if not line.endswith(b"\n"):
            return None
        self._offset += len(line)
        return line


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A running `recording-worker`, and where it listens, if it does."""

    process: asyncio.subprocess.Process
    log: WorkerLog
    folder: Path
    url: str
    started_s: float
    """When it was started, by time.perf_counter."""

    @property
    def queue_file(self) -> Path:
        return self.folder / "queue.db"

    async def killed(self) -> None:
        """Kill -9, and wait until it is gone."""
        _signal(self.process, signal.SIGKILL)
        await self.process.wait()

    def peak_mib(self) -> float:
        """The most resident memory that it ever had; only Linux tells."""
        return self._status_mib("VmHWM")

    def resident_mib(self) -> float:
        """The resident memory that it has now."""
        return self._status_mib("VmRSS")

    def _status_mib(self, name: str) -> float:
        found = re.search(rf"{name}:\s+(\d+) kB", self._told("status"))
        if found is None:
            raise BenchError("the worker has ended")
        return int(found[1]) / 1024

    def cpu_seconds(self) -> float:
        """Processor time that it has used, of all its threads, with the system's for it."""
        ticks = self._told("stat").rpartition(")")[2].split()[11:13]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    def _told(self, what: str) -> str:
        path = Path(f"/proc/{self.process.pid}/{what}")
        if not path.exists():
            raise BenchError("memory and processor time are measured on Linux only")
        return path.read_text(encoding="ascii")


@asynccontextmanager
async def running_worker(
    verb: str,
    folder: Path,
    *,
    acs: Acs | None = None,
    ca_file: Path | None = None,
    key: str = "",
) -> AsyncIterator[Worker]:
    """Run `webhook` or `serve` with default settings, from when it listens.

    With `key` a delivery needs it, and `url` bears it.
    """
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    log = folder / "worker.log"
    started_s = time.perf_counter()
    settings = _settings(folder, acs, ca_file)
    if key:
        settings["WORKER_WEBHOOK_KEYS"] = key
    async with running([COMMAND, verb], settings=settings, log=log) as process:
        worker_log = WorkerLog(log)
        async with asyncio.timeout(START_SECONDS):
            listening = await _listening(process, worker_log)
        yield Worker(
            process=process,
            log=worker_log,
            folder=folder,
            url=listening["listen"] + (f"?code={key}" if key else ""),
            started_s=started_s,
        )


async def _listening(
    process: asyncio.subprocess.Process, log: WorkerLog
) -> dict[str, Any]:
    ended = asyncio.ensure_future(process.wait())
    started = asyncio.ensure_future(log.next("worker.started"))
    await asyncio.wait((ended, started), return_when=asyncio.FIRST_COMPLETED)
    ended.cancel()
    if not started.done():
        started.cancel()
        raise BenchError(f"the worker ended with {process.returncode}")
    return started.result()


def _settings(folder: Path, acs: Acs | None, ca_file: Path | None) -> dict[str, str]:
    settings = {
        "WORKER_ARCHIVE": f"file:{folder / 'archive'}",
        "WORKER_QUEUE": f"sqlite:{folder / 'queue.db'}",
        "WORKER_LISTEN": "127.0.0.1:0",
        "WORKER_ADMIN_LISTEN": "off",
        "WORKER_SOURCE_HOSTS": "127.0.0.1:1",
        "WORKER_LOG_FORMAT": "json",
        "AZURE_COMMUNICATION_CONNECTION_STRING": DEMO_CONNECTION_STRING,
    }
    if acs is not None:
        settings["WORKER_SOURCE_HOSTS"] = f"{acs.global_host},{acs.regional_host}"
        settings["AZURE_COMMUNICATION_CONNECTION_STRING"] = acs.connection_string
    if ca_file is not None:
        settings["SSL_CERT_FILE"] = str(ca_file)
    return settings
