"""A replay as people watch it."""

import io

import pytest
from rich.console import Console

from tests.factories import a_chunk, an_announcement, some_chunks
from tests.fakes.clock import ManualClock
from worker.attempt import Observer
from worker.cli.progress import ReplayView
from worker.posting import Posted

MIB = 1024 * 1024


class Watched:
    """A view with its two consoles."""

    def __init__(self, *, terminal: bool, height: int = 24) -> None:
        self.clock = ManualClock()
        self.out = Console(file=io.StringIO(), width=80)
        self.screen = Console(
            file=io.StringIO(), width=80, height=height, force_terminal=terminal
        )
        self.view = ReplayView(
            out=self.out, screen=self.screen, monotonic=self.clock.monotonic
        )

    def lines(self) -> list[str]:
        """What was printed on the screen, line by line."""
        return _text(self.screen).splitlines()

    def frame(self) -> list[str]:
        """What the live view would show now."""
        with self.screen.capture() as captured:
            self.screen.print(self.view.render())
        plain = Console(file=io.StringIO(), width=80)
        with plain.capture() as text:
            plain.print(self.view.render())
        assert captured.get()
        return [line.rstrip() for line in text.get().splitlines()]

    def summary(self) -> list[str]:
        self.view.print_summary()
        return [line.rstrip() for line in _text(self.out).splitlines()]


def _text(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


@pytest.fixture
def piped() -> Watched:
    return Watched(terminal=False)


@pytest.fixture
def watched() -> Watched:
    return Watched(terminal=True)


def test_view_is_an_observer(piped: Watched) -> None:
    """The engine can report to it."""
    observer: Observer = piped.view

    observer.stage(a_chunk(), "queued")


def test_off_a_terminal_every_change_is_a_line(piped: Watched) -> None:
    """One line per step, none for bytes on the way, none twice."""
    chunk = a_chunk(index=3)
    short = chunk.recording[:8]

    with piped.view as view:
        view.stage(chunk, "queued")
        view.stage(chunk, "queued")
        view.stage(chunk, "downloading")
        view.moved(chunk, MIB, 2 * MIB)
        view.moved(chunk, 2 * MIB, 2 * MIB)
        view.stage(chunk, "archived")

    assert piped.lines() == [
        f"{short}  3  queued",
        f"{short}  3  downloading",
        f"{short}  3  archived  2.0 MiB",
    ]


def test_live_view_shows_bytes_speed_and_state(watched: Watched) -> None:
    """A moving chunk says how far and how fast."""
    chunk = a_chunk()
    watched.view.stage(chunk, "downloading")
    watched.view.moved(chunk, 3 * MIB, 12 * MIB)
    watched.clock.advance(2)

    (line,) = watched.frame()

    assert "3.0 MiB of 12.0 MiB" in line
    assert "1.5 MiB/s" in line
    assert line.endswith("downloading")


def test_chunks_are_ordered_by_first_sight_and_index(watched: Watched) -> None:
    """Recordings as they were announced; chunks by index, whatever order they come in."""
    chunks = some_chunks(3)
    other = a_chunk(announcement=an_announcement(recording_id="r2"))
    for chunk in (chunks[2], other, chunks[0], chunks[1]):
        watched.view.stage(chunk, "queued")

    places = [line.split()[:2] for line in watched.frame()]

    expected = [[c.recording[:8], str(c.index)] for c in (*chunks, other)]
    assert places == expected


def test_low_screen_shows_what_moves() -> None:
    """Of more chunks than lines, settled ones give way, and the rest is counted."""
    low = Watched(terminal=True, height=6)
    for chunk, stage in zip(
        some_chunks(5),
        ("archived", "queued", "verifying", "deleted", "downloading"),
        strict=True,
    ):
        low.view.stage(chunk, stage)

    *lines, rest = low.frame()

    assert [line.split()[1] for line in lines] == ["1", "2", "4"]
    assert rest == "and 2 more"


def test_unknown_size_has_no_total(watched: Watched) -> None:
    """A server that announces no size is shown by what came."""
    chunk = a_chunk()
    watched.view.stage(chunk, "downloading")
    watched.view.moved(chunk, 3 * MIB, None)

    (line,) = watched.frame()

    assert "3.0 MiB" in line
    assert " of " not in line


def test_unstarted_chunk_has_no_size_and_no_speed(watched: Watched) -> None:
    """Before the first byte there is nothing to say."""
    watched.view.stage(a_chunk(), "downloading")

    (line,) = watched.frame()

    assert " B" not in line
    assert "/s" not in line


def test_chunk_at_home_shows_its_size_and_a_full_bar(watched: Watched) -> None:
    """What was archived before has no bytes to show, but is done."""
    fetched, known = some_chunks(2)
    watched.view.stage(fetched, "downloading")
    watched.view.moved(fetched, 2 * MIB, 2 * MIB)
    watched.view.stage(fetched, "archived")
    watched.view.stage(known, "already archived")

    first, second = watched.frame()

    assert "2.0 MiB" in first
    assert " of " not in first
    assert first.split()[2] == second.split()[2]
    assert second.endswith("already archived")


def test_live_view_runs_on_a_terminal(watched: Watched) -> None:
    """Bars are drawn while it is open, and taken away at the end."""
    with watched.view as view:
        view.stage(a_chunk(), "downloading")

    assert any("downloading" in line for line in watched.lines())


def test_summary_has_a_line_per_chunk(piped: Watched) -> None:
    """Size, speed, state, and the reason where one was given."""
    first, second = some_chunks(2)
    piped.view.stage(first, "downloading")
    piped.clock.advance(2)
    piped.view.moved(first, 4 * MIB, 4 * MIB)
    piped.view.stage(first, "verifying")
    piped.clock.advance(60)
    piped.view.stage(first, "deleted")
    piped.view.stage(second, "dead")
    piped.view.explain(second, "source-expired")

    header, one, two, total = piped.summary()

    assert header.split() == ["RECORDING", "#", "SIZE", "SPEED", "STATE", "NOTE"]
    assert one.split()[1:] == ["0", "4.0", "MiB", "2.0", "MiB/s", "source", "deleted"]
    assert two.split()[1:] == ["1", "dead", "source-expired"]
    assert total == "1 recording, 2 chunks, 4.0 MiB downloaded"


def test_summary_says_how_far_a_download_came(piped: Watched) -> None:
    """Its size alone would tell that all of it was downloaded."""
    piped.view.stage(a_chunk(), "downloading")
    piped.view.moved(a_chunk(), 1 * MIB, 4 * MIB)
    piped.view.stage(a_chunk(), "rescheduled")

    _, line, total = piped.summary()

    assert "1.0 MiB of 4.0 MiB" in line
    assert total == "1 recording, 1 chunk, 1.0 MiB downloaded"


@pytest.mark.parametrize(
    ("stages", "shown"),
    [
        (["archived", "already archived", "deleted"], "source deleted"),
        (["archived", "already archived"], "archived"),
        (["already archived", "deleted"], "already archived"),
        (["erased", "deleted"], "erased"),
    ],
)
def test_chunk_says_whether_this_run_brought_it_home(
    piped: Watched, stages: list[str], shown: str
) -> None:
    """What was home before is `already archived` to the end; what came now never is."""
    for stage in stages:
        piped.view.stage(a_chunk(), stage)

    assert piped.summary()[1].endswith(shown)


def test_posted_file_is_shown_with_its_answer(watched: Watched) -> None:
    """Status first, as it is what a reader looks for."""
    watched.view.posted(Posted(file="one.json", status=400))

    assert "400  one.json" in watched.lines()


def test_delivered_file_is_shown_with_what_was_in_it(watched: Watched) -> None:
    """In columns, the handshakes among them; `[file]` is a name and no style."""
    for posted in (
        Posted(file="CloudEvents", status=200, what="handshake"),
        Posted(file="[one].json", status=None, what="4 events"),
    ):
        watched.view.posted(posted)

    assert "200  handshake  CloudEvents" in watched.lines()
    assert "no answer  4 events   [one].json" in watched.lines()


def test_second_attempt_is_timed_anew(piped: Watched) -> None:
    """The speed is that of the download that brought the chunk home."""
    chunk = a_chunk()
    piped.view.stage(chunk, "downloading")
    piped.clock.advance(100)
    piped.view.stage(chunk, "queued")
    piped.view.stage(chunk, "downloading")
    piped.clock.advance(1)
    piped.view.moved(chunk, MIB, MIB)
    piped.view.stage(chunk, "archived")

    assert "1.0 MiB/s" in piped.summary()[1]


def test_note_goes_with_the_stage_that_it_was_about(piped: Watched) -> None:
    """A chunk that waited for siblings and was closed by them waits for nobody."""
    chunk = a_chunk()

    piped.view.stage(chunk, "archived")
    piped.view.explain(chunk, "waiting-for-siblings")
    piped.view.stage(chunk, "deleted")

    assert "waiting" not in "\n".join(piped.summary())
