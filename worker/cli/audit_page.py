"""A custody record as one page that needs nothing else: no script, no image, no font."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.ops.auditing import Audit, ChunkAudit, ProvenFile, Step

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #777; --warn: #b00020; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 2rem 0 .5rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; padding-top: 1rem;
     border-top: 1px solid var(--line); }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0;
         border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 500; white-space: nowrap; }
td.time { white-space: nowrap; font-variant-numeric: tabular-nums; }
code { font: 13px/1.4 ui-monospace, monospace; }
.warn { color: var(--warn); font-weight: 600; }
.made { color: var(--soft); }
@media print { body { margin: 0; max-width: none; font-size: 11px; }
               h2, tr { break-inside: avoid; } }
@media (prefers-color-scheme: dark) { :root { --warn: #ff8a80; } }
"""


def page_of(records: "Sequence[Audit]") -> str:
    """The page; everything that was said by others is escaped."""
    body = "".join(part for record in records for part in _record(record))
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>Custody record</title>\n<style>{_STYLE}</style>\n{body}</html>\n"
    )


def _record(record: "Audit") -> Iterator[str]:
    row = record.recording
    yield f"<h1>Custody record of recording {_text(row.recording)}</h1>\n"
    yield (
        f'<p class="made">Made {_time(record.made_at)} by {_text(record.made_by)}, '
        f"recording-worker {_text(record.worker_version)}</p>\n"
    )
    state = "complete" if row.complete else '<span class="warn">not complete</span>'
    yield _fields(
        ("State", state + (", on legal hold" if row.on_hold else "")),
        ("Recording id", _code(row.recording_id)),
        ("Call", _code(row.call_id)),
        ("Server call", _code(row.server_call_id)),
        ("Started", _time(row.started_at)),
        ("Chunks", _text(len(record.chunks))),
        ("Folder", _code(row.folder)),
        *(("Missing", _text(f"{gap.index}: {gap.reason}")) for gap in row.missing),
    )
    for chunk in record.chunks:
        yield from _chunk(chunk)
    if record.holds:
        yield f"<h2>Holds</h2>\n{_steps(record.holds)}"
    yield f"<h2>What this proves</h2>\n{_list(record.proves)}"
    yield f"<h2>What it does not prove</h2>\n{_list(record.proves_not)}"


def _chunk(chunk: "ChunkAudit") -> Iterator[str]:
    yield f"<h2>Chunk {chunk.index}: {_code(chunk.document_id)}</h2>\n"
    if chunk.problem:
        yield f'<p class="warn">{_text(chunk.problem)}</p>\n'
    if chunk.flags:
        yield f'<p class="warn">Flags: {_text(", ".join(chunk.flags))}</p>\n'
    yield _steps(chunk.steps)
    for file in chunk.files:
        yield _file(file)


def _file(file: "ProvenFile") -> str:
    protection = ", ".join(f"{name} {value}" for name, value in file.protection.items())
    return _fields(
        (file.what.capitalize(), _code(file.name)),
        ("Size", _text(f"{file.size_bytes:,} bytes")),
        ("sha256", _code(file.sha256)),
        (
            "sha256 of blocks",
            _code(f"{file.blocks_sha256} ({file.block_bytes:,} bytes)"),
        ),
        ("Verified", _text(file.verified)),
        ("ETag", _code(file.etag)),
        ("Version", _code(file.version)),
        ("Protection", _text(protection)),
    )


def _steps(steps: "Sequence[Step]") -> str:
    rows = "".join(
        f'<tr><td class="time">{_time(step.at)}</td><th>{_text(step.what)}</th>'
        f"<td>{_text(step.detail)}</td><td>{_text(step.by)}</td></tr>\n"
        for step in steps
    )
    return f"<table>\n{rows}</table>\n" if rows else ""


def _fields(*fields: tuple[str, str]) -> str:
    rows = "".join(
        f"<tr><th>{_text(name)}</th><td>{value}</td></tr>\n"
        for name, value in fields
        if value
    )
    return f"<table>\n{rows}</table>\n"


def _list(claims: Iterable[str]) -> str:
    return (
        "<ul>\n" + "".join(f"<li>{_text(claim)}</li>\n" for claim in claims) + "</ul>\n"
    )


def _time(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%SZ}" if at else ""


def _code(value: str | None) -> str:
    return f"<code>{_text(value)}</code>" if value else ""


def _text(value: object) -> str:
    return "" if value is None else escape(str(value))
