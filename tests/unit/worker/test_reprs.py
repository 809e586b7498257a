"""What a value shows of itself: it may end in an exception's text, an assertion, a debugger.

The rule is kept by name, so that whoever adds such a field is told.
"""

import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Iterator

import pytest

import handlers
import worker
from tests import canaries
from tests.canaries import seen
from tests.factories import a_chunk
from worker import settings
from worker.settings_rules import Use

_TELLING = re.compile(
    r"raw|raw_base64|body|.*_location|location|.*_path|sas|key_bytes|receipt|headers"
    r"|validation_code|event|data|text|environment|env_file|token|url"
)
"""Names of fields that hold what others sent, where it lies, or what opens it."""
_HARMLESS = {
    # Ours, and without a query.
    "worker.archives.customer_locations.Located.url",
    "handlers.jwks.Authority.url",
    "handlers.jwks.CallAutomation.url",
    "worker.proxies.Proxy.url",
    # Chosen ones, by name: see KEPT_HEADERS.
    "worker.model.SourceFacts.headers",
    # What is printed.
    "worker.storage_errors.Told.text",
    # Names of ours within the archive.
    "worker.stored.ManifestChunk.receipt",
    "worker.ops.recording_rows.ChunkRow.receipt",
    # Told to others, who may know.
    "worker.stored.Notice.data",
}


def dataclasses_of_the_product() -> Iterator[type]:
    for package in (worker, handlers):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name.endswith("__main__"):
                continue
            for value in vars(importlib.import_module(found.name)).values():
                is_ours = getattr(value, "__module__", None) == found.name
                if (
                    isinstance(value, type)
                    and dataclasses.is_dataclass(value)
                    and is_ours
                ):
                    yield value


def test_no_value_shows_what_it_was_sent() -> None:
    """Fields of such names are left out of the repr."""
    shown = {
        f"{kind.__module__}.{kind.__qualname__}.{field.name}"
        for kind in dataclasses_of_the_product()
        for field in dataclasses.fields(kind)
        if field.repr and _TELLING.fullmatch(field.name) and _holds_text(field)
    }

    assert shown - _HARMLESS == set()


def _holds_text(field: dataclasses.Field[object]) -> bool:
    return (
        re.search(r"\b(str|bytes|URL|dict|JsonObject|Mapping)\b", str(field.type))
        is not None
    )


def test_chunk_shows_neither_its_locations_nor_its_event() -> None:
    """It is what most of our code handles."""
    chunk = a_chunk()
    secret = f"{chunk.content_location}?sig={canaries.LOCATION_TOKEN}"
    raw = dataclasses.replace(chunk.announcement, raw=canaries.RAW_ID)

    shown = repr(dataclasses.replace(chunk, content_location=secret, announcement=raw))

    assert seen(shown) == []
    assert chunk.document_id in shown


@pytest.mark.parametrize("name", ["ARCHIVE", "QUEUE", "INBOX", "BYOS_CONTAINERS"])
def test_settings_show_no_secret(name: str) -> None:
    """A URL may bear a signature."""
    service = "queue" if name in {"QUEUE", "INBOX"} else "blob"
    url = f"https://a.{service}.core.windows.net/calls?sig={canaries.LOCATION_TOKEN}"
    texts = {f"WORKER_{name}": url, "WORKER_WEBHOOK_KEYS": canaries.OTHER_KEY}

    inspection = settings.inspect(texts, use=Use.READ)

    assert inspection.settings is not None
    assert seen(repr(inspection)) == []
    assert {url.partition("=")[2], canaries.OTHER_KEY} <= set(inspection.secrets)
