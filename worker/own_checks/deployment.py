"""What is looked at, and how a check that meets trouble says so."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from worker.errors import ConfigError, WorkerError
from worker.ops.doctor import Check, Finding, failed
from worker.ports import Clock
from worker.settings import Settings
from worker.settings_rules import Use
from worker.storage_places import Place
from worker.tracebacks import words_of

LONGEST_CHECK_SECONDS = 20.0
"""Longer than what answers at all takes, a token of Entra ID included; all checks wait together."""
CONFIG = "recording-worker config"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One process's settings, and what they lead to."""

    settings: Settings
    use: Use
    clock: Clock
    dead_letters: Place | None = None
    """Where Event Grid leaves what it gave up, if somebody said so."""


Looks = Callable[[Deployment], Awaitable[Sequence[Finding]]]


def guarded(name: str, look: Looks, deployment: Deployment, *, url: str = "") -> Check:
    """The check, with its own trouble as a finding, and an end. `url` is what it asks."""

    async def check() -> Sequence[Finding]:
        try:
            async with asyncio.timeout(LONGEST_CHECK_SECONDS):
                return await look(deployment)
        except TimeoutError:
            return [_silent(name, url)]
        except ConfigError as error:
            seen = "; ".join(error.problems)
            return [failed(name, seen, error.hint or CONFIG)]
        except WorkerError as error:
            seen = " ".join(str(error).split()) or error.reason
            return [failed(name, seen, error.hint or CONFIG)]
        except OSError as error:
            return [failed(name, words_of(error), CONFIG)]

    return check


def _silent(name: str, url: str) -> Finding:
    seen = f"no answer within {LONGEST_CHECK_SECONDS:g} s"
    if not url:
        return failed(name, seen, CONFIG)
    return failed(name, f"{seen} from {url}", f"curl --head {url}")
