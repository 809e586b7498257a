"""The options that many verbs share, word for word."""

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done; do nothing.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Don't ask on a terminal.")]
