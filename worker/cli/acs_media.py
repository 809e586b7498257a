"""`acs recording download` and `acs recording delete`: media as they lie at ACS."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import acs, failures
from worker.cli.acs import DryRun, Resource
from worker.cli.options import AsJson

if TYPE_CHECKING:
    # Start-up cost: see worker/cli/session.py.
    from worker.ops.acs_media import Deleted, Download, Proof

_EXAMPLE = "Example: recording-worker acs recording "
DOWNLOAD = f"{_EXAMPLE}download CONTENT-LOCATION -o a.mp4"
DELETE = f"{_EXAMPLE}delete DELETE-LOCATION --dry-run"


def download(
    context: typer.Context,
    url: Annotated[
        str, typer.Argument(metavar="URL", help="contentLocation or metadataLocation.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A file that is not there yet.")
    ],
    resource: Resource = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Fetch one object from ACS into a file, by parallel ranges.

    The file appears when it is whole. The archive knows nothing of it.
    """
    from worker import driving, names

    if not output.name:
        raise acs.UnfitUsageError("--output is the name of a file", context)
    settings = acs.settings_of(context, for_media=True)
    if dry_run:
        asyncio.run(driving.check(settings, url))
        _print_request("GET", url, as_json=as_json)
        return
    found = asyncio.run(driving.download(settings, url, output, resource=resource))
    document = names.document_in(url)
    acs.log_asked("recording download", resource=resource, subject=document)
    _print_download(found, as_json=as_json)


def _print_request(method: str, url: str, *, as_json: bool) -> None:
    from worker.acs.answers import Planned

    shown = url.partition("?")[0]
    acs.print_planned(Planned(method=method, url=shown, body=None), as_json=as_json)


def _print_download(found: "Download", *, as_json: bool) -> None:
    from worker.cli import printing

    if as_json:
        printing.print_json(found)
        return
    printing.print_fields(
        ("file", found.file),
        ("size", printing.size(found.size_bytes)),
        ("sha256", found.sha256),
        ("from", found.source_host),
    )


def delete(
    context: typer.Context,
    url: Annotated[
        str, typer.Argument(metavar="URL", help="deleteLocation of a chunk.")
    ],
    yes: Annotated[
        bool, typer.Option("--yes", help="Don't ask, at a terminal.")
    ] = False,
    resource: Resource = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say whether it is proven; delete nothing."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a chunk, content and metadata, at ACS.

    What a receipt proves to be in the archive is deleted at once. For all else a person
    is asked, at a terminal; where there is none it is refused, whatever is said.
    """
    from worker import driving

    settings = acs.settings_of(context, for_media=True)
    proof = asyncio.run(driving.proof_of(settings, url))
    if dry_run:
        _print_deleted(_not_deleted(proof), as_json=as_json)
        if not as_json:
            _print_request("DELETE", url, as_json=False)
        return
    is_told = proof.why_none is not None and _is_told(proof, yes=yes)
    if proof.why_none is not None and not is_told:
        sys.stderr.write("nothing was deleted\n")
        raise typer.Exit(failures.FAILED)
    what = "recording delete unproven" if is_told else "recording delete"
    # Before it is sent: it may be done though nobody hears the answer.
    acs.log_asked(what, resource=resource, subject=proof.document_id)
    found = asyncio.run(
        driving.delete(settings, url, resource=resource, unproven=is_told)
    )
    _print_deleted(found, as_json=as_json)


def _is_told(proof: "Proof", *, yes: bool) -> bool:
    """Whether a person at a terminal wants it all the same. Raises UnprovenError."""
    from worker.ops import acs_media

    if not sys.stdin.isatty():
        raise acs_media.UnprovenError(
            f"{proof.why_none}, and nobody is here to be asked"
        )
    return acs.confirmed(
        f"{proof.why_none}: delete {proof.document_id} for ever?", yes=yes
    )


def _not_deleted(proof: "Proof") -> "Deleted":
    from worker.ops.acs_media import Deleted

    return Deleted(
        document_id=proof.document_id,
        is_proven=proof.why_none is None,
        why_unproven=proof.why_none,
        status=None,
    )


def _print_deleted(found: "Deleted", *, as_json: bool) -> None:
    from worker.cli import printing

    if as_json:
        printing.print_json(found)
        return
    printing.print_fields(
        ("document", found.document_id),
        ("proof", found.why_unproven or "in the archive, by its receipt"),
        (
            "source",
            "nothing was sent: a dry run"
            if found.status is None
            else f"answered {found.status}",
        ),
    )
