"""`recordings verify`: does the archive hold what was proven?"""

import re
import sys
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Self

import typer

from worker.cli import failures, piping, session, times
from worker.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    # Start-up cost: see worker/cli/session.py.
    from rich.progress import Progress

    from worker.ops.verify_run import Reports, VerifyRun, Wanted
    from worker.ops.verifying import Looked
    from worker.ports import Archive
    from worker.reports import Problem
    from worker.settings import Settings

_SAMPLE = re.compile(r"(?P<number>\d{1,9})(?P<percent>\.\d+%|%)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """So many chunks, or a share of them."""

    count: int | None = None
    percent: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What was typed."""

    text: str | None = field(repr=False)
    is_all: bool
    sample: Sample
    since: datetime | None
    kept_days: int | None
    anew: bool
    report: bool
    as_json: bool

    def check(self) -> None:
        of_many = self.is_all or self.since or self.sample != Sample()
        if bool(self.text) == bool(of_many):
            raise typer.BadParameter("say --all, --sample, --since, or an ID")


def _sample(text: str) -> Sample:
    """`100`, or `5%`."""
    found = _SAMPLE.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter("a sample is 100, or 5%")
    if found["percent"]:
        return Sample(percent=float(text.strip().rstrip("%")))
    return Sample(count=int(found["number"]))


Text = Annotated[
    str | None,
    typer.Argument(metavar="[ID]", help="Only this; any id, as `show` takes it."),
]
All = Annotated[bool, typer.Option("--all", help="Everything there is.")]
OfSample = Annotated[
    Sample | None,
    typer.Option(metavar="N|P%", help="So many chunks by chance.", parser=_sample),
]
Since = Annotated[
    datetime | None,
    typer.Option(
        metavar="DAY", help="Only archived since: 2026-03-01, 7d.", parser=times.moment
    ),
]
KeptDays = Annotated[
    int | None,
    typer.Option(min=1, help="After so many days a rule of yours removes objects."),
]
Anew = Annotated[
    bool, typer.Option("--anew", help="Don't go on with a run that was killed.")
]
NoReport = Annotated[
    bool, typer.Option("--no-report", help="Keep no report: rights to read do.")
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON lines; the last is the summary.")
]


def verify(  # noqa: PLR0913, PLR0917 - one parameter per option
    context: typer.Context,
    text: Text = None,
    all_: All = False,
    sample: OfSample = None,
    since: Since = None,
    kept_days: KeptDays = None,
    anew: Anew = False,
    no_report: NoReport = False,
    as_json: AsJson = False,
) -> int:
    """Hash what the archive holds, and compare it with receipts and manifests.

    Exit 3 if anything is missing, altered, orphaned, expired, half erased or unreadable,
    though nobody reads it to the end: what was found by then is kept.
    Run again after a kill, it goes on where it was.
    """
    asked = _Asked(
        text=text,
        is_all=all_,
        sample=sample or Sample(),
        since=since,
        kept_days=kept_days,
        anew=anew,
        report=not no_report,
        as_json=as_json,
    )
    asked.check()
    problems = session.look_at_archive(
        context, lambda archive, settings: _verify(archive, settings, asked)
    )
    return failures.NEEDS_ATTENTION if problems else failures.DONE


async def _verify(archive: "Archive", settings: "Settings", asked: _Asked) -> int:
    """Verify, and have who is sent metrics know how it went."""
    from worker.telemetry.setup import open_telemetry

    async with open_telemetry(settings, lambda _: (), scraped=False):
        return await _verified(archive, settings, asked)


async def _verified(archive: "Archive", settings: "Settings", asked: _Asked) -> int:
    from worker.exporting import open_exports
    from worker.ops.verify_run import VerifyRun
    from worker.ops.verifying import Verifier

    clock = SystemClock()
    wanted = await _wanted(archive, asked)
    async with open_exports(settings) as exports:
        run = VerifyRun(
            archive=archive,
            verifier=Verifier(
                archive=archive,
                exports=exports,
                now=clock.now(),
                kept_for=timedelta(days=asked.kept_days) if asked.kept_days else None,
                since=asked.since,
            ),
            wanted=wanted,
            clock=clock,
            reports=await _reports(archive, settings, wanted, asked),
        )
        await _gone_through(run, archive, as_json=asked.as_json)
    return sum(run.tally.problems.values())


async def _gone_through(run: "VerifyRun", archive: "Archive", *, as_json: bool) -> None:
    try:
        with _Screen(as_json=as_json) as screen:
            await screen.count(archive)
            async for look in run.looks():
                screen.add(look)
        screen.end(run)
    except SystemExit:
        # Its reader left; what was found by then stays found.
        try:
            await run.leave()
        finally:
            if run.tally.problems:
                _told(run)
        raise
    _told(run)


def _told(run: "VerifyRun") -> None:
    from worker.telemetry import meters
    from worker.telemetry.instruments import VERIFICATIONS

    meters.add(VERIFICATIONS, outcome="problems" if run.tally.problems else "intact")
    _log(run)


async def _wanted(archive: "Archive", asked: _Asked) -> "Wanted":
    from worker.ops import finding
    from worker.ops.verify_run import Wanted

    if not asked.text:
        sample = asked.sample
        return Wanted(sample=sample.count, percent=sample.percent, since=asked.since)
    found = [folder async for folder in finding.find(archive, asked.text)]
    if not found:
        raise session.NotInArchiveError(f"the archive knows no {asked.text!r}")
    return Wanted(folders=tuple(found))


async def _reports(
    archive: "Archive", settings: "Settings", wanted: "Wanted", asked: _Asked
) -> "Reports | None":
    from worker.ops.verify_run import Author, open_reports

    if not asked.report:
        return None
    author = Author(by=session.user(), instance=settings.instance)
    now = SystemClock().now()
    reports = await open_reports(
        archive, wanted, author=author, now=now, anew=asked.anew
    )
    if reports.before:
        sys.stderr.write(
            f"going on with the run of {reports.started_at:%Y-%m-%d %H:%MZ}\n"
        )
    return reports


def _log(run: "VerifyRun") -> None:
    import structlog

    log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)
    write = log.warning if run.tally.problems else log.info
    write(
        "recordings.verified",
        by=session.user(),
        scope=run.wanted.scope,
        report=run.reports.run if run.reports else None,
        chunks=run.tally.chunks,
        problems=run.tally.problems,
    )


@dataclass(slots=True, kw_only=True)
class _Screen:
    """Problems as they are found, and on a terminal how far it is."""

    as_json: bool
    _progress: "Progress | None" = None

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        if console.is_terminal:
            self._progress = Progress(
                *Progress.get_default_columns(), "{task.fields[size]}", console=console
            )
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    async def count(self, archive: "Archive") -> None:
        """How many there are is worth a look at names only where somebody watches."""
        from worker import names

        if self._progress is None:
            return
        every: AsyncIterator[str] = archive.list(names.RECEIPTS)
        total = sum([1 async for name in every if name.count(".") == 1])
        self._progress.add_task("chunks", total=total, size="")

    def add(self, look: "Looked") -> None:
        for problem in look.problems:
            self._tell(problem)
        if self._progress is not None:
            from worker.cli import printing

            task = self._progress.tasks[0]
            done = int(task.fields.get("bytes", 0)) + look.tally.size_bytes
            self._progress.update(
                task.id,
                advance=look.tally.chunks,
                bytes=done,
                size=printing.size(done),
            )

    def _tell(self, problem: "Problem") -> None:
        from worker.cli import printing

        piping.end_with(failures.NEEDS_ATTENTION)
        if self.as_json:
            printing.print_json_lines([problem])
            return
        what = problem.name or problem.key or problem.recording or ""
        printing.print_line(
            printing.cell(
                f"{problem.kind:<10}  {problem.what:<9}  {what}: {problem.detail}"
            )
        )

    def end(self, run: "VerifyRun") -> None:
        """The summary."""
        from worker.cli import printing

        tally, report = run.tally, run.reports
        if self.as_json:
            printing.print_json_lines(
                [
                    {
                        "scope": run.wanted.scope,
                        "report": report.run if report else None,
                        "tally": tally,
                    }
                ]
            )
            return
        chunks = printing.count(tally.chunks, "chunk")
        recordings = printing.count(tally.recordings, "recording")
        objects = printing.count(tally.objects, "object")
        printing.print_fields(
            ("verified", f"{chunks}, {recordings}"),
            ("hashed", f"{objects}, {printing.size(tally.size_bytes)}"),
            ("erased", tally.erased or None),
            ("expired by rule", tally.expired or None),
            ("not looked at", tally.not_looked_at or None),
            *((kind, count) for kind, count in tally.problems.items()),
            ("problems", None if tally.problems else "none"),
            ("report", f"reports/verify/{report.run}/" if report else None),
        )
