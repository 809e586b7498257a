"""The list, and who goes through it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from worker.ops import doctor
from worker.ops.config import ConfigReport
from worker.ops.doctor import (
    Check,
    Examination,
    Finding,
    Tell,
    failed,
    noted,
    passed,
    skipped,
)
from worker.own_checks import archive, dead_letters, disks, identity, queue
from worker.own_checks.deployment import Deployment, guarded
from worker.own_checks.source import source_checks
from worker.settings import Settings
from worker.settings_rules import Use

SETTINGS, HANDSHAKE, STRANGERS = "settings", "handshake", "post of a stranger"
ASK_ENDPOINT = "recording-worker doctor --endpoint https://YOUR-HOST/api/events"


async def examine(
    deployment: Deployment | None, report: ConfigReport, use: Use, *, tell: Tell
) -> Examination:
    """Make all checks; without a deployment, for settings that are wrong, those alone."""
    checks: list[Check] = [partial(_settings, report, use)]
    if deployment is not None:
        checks += _checks(deployment)
    async with doctor.side_by_side(checks) as begun:
        found = await doctor.examine(f"recording-worker {use}", begun, tell=tell)
    is_there = deployment is None or _is_anything_there(deployment.settings)
    return replace(found, is_reachable=is_there)


def _checks(deployment: Deployment) -> Iterator[Check]:
    yield guarded("disk of archive", disks.archive_disk, deployment)
    yield guarded("disk of queue", disks.queue_disk, deployment)
    yield from identity.identity_checks(deployment)
    if deployment.use is not Use.CONSUME:
        yield guarded(STRANGERS, _strangers, deployment)
    if deployment.use is not Use.WEBHOOK:
        yield from source_checks(deployment)
    yield from _storage_checks(deployment)
    yield _handshake


def _storage_checks(deployment: Deployment) -> Iterator[Check]:
    settings = deployment.settings
    for name, look, place in (
        (archive.WRITE, archive.archive, settings.archive_place),
        (identity.RIGHTS, identity.rights, settings.archive_place),
        (queue.QUEUE, queue.queue, settings.queue_place),
        (queue.INBOX, queue.inbox, settings.inbox_place),
        (
            dead_letters.CHECK,
            dead_letters.dead_letters,
            dead_letters.place_for(deployment),
        ),
    ):
        yield guarded(name, look, deployment, url=place.url if place else "")


async def _settings(report: ConfigReport, use: Use) -> Sequence[Finding]:
    hint = f"recording-worker config --for {use}"
    wrong = [failed(SETTINGS, problem, hint) for problem in report.problems]
    odd = [noted(SETTINGS, warning, hint) for warning in report.warnings]
    return [*wrong, *odd] or [passed(SETTINGS, f"all that `{use}` needs")]


async def _strangers(deployment: Deployment) -> Sequence[Finding]:
    """On loopback nobody has to be asked; but what ends TLS there lets everybody in."""
    settings = deployment.settings
    if settings.webhook_keys or settings.webhook_entra_tenant:
        return []
    seen = f"no key is asked for (WORKER_WEBHOOK_KEYS): who gets to {settings.listen}"
    return [noted(STRANGERS, f"{seen}, by a proxy too, may post", ASK_ENDPOINT)]


async def _handshake() -> Sequence[Finding]:
    return [skipped(HANDSHAKE, "no endpoint was named", ASK_ENDPOINT)]


def _is_anything_there(settings: Settings) -> bool:
    """Not before the first start, where both lie on this machine."""
    return settings.has_archive or settings.has_queue
