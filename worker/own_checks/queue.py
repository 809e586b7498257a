"""Whether what goes into the queue comes out again, and whether the inbox can be read."""

import random
from collections.abc import Sequence

from worker import opening
from worker.ops.doctor import Finding, noted, passed
from worker.own_checks.deployment import Deployment
from worker.settings_rules import Use

QUEUE, INBOX = "queue", "inbox"


async def queue(deployment: Deployment) -> Sequence[Finding]:
    """A probe in and out."""
    settings = deployment.settings
    if not settings.has_queue:
        seen = f"there is no queue at {settings.queue} yet"
        return [noted(QUEUE, seen, "recording-worker serve")]
    async with opening.open_queue(settings, create=False) as opened:
        may_take = await opened.round_trip()
    if may_take or deployment.use is Use.WEBHOOK:
        how = "in and out" if may_take else "in; this identity may take nothing out"
        return [passed(QUEUE, f"a probe went {how}")]
    seen = "this identity may send and take nothing out: enough for `webhook` alone"
    return [noted(QUEUE, seen, "recording-worker doctor --for webhook")]


async def inbox(deployment: Deployment) -> Sequence[Finding]:
    """What Event Grid delivers to, if it is a queue."""
    place = deployment.settings.inbox_place
    if place is None:
        return []
    # Start-up cost: the SDK is for those who use it.
    from worker.queues.storage.channel import Channel
    from worker.storage_clients import open_identity

    async with (
        open_identity(deployment.settings.storage_account) as identity,
        Channel(
            place,
            identity,
            suffix="",
            clock=deployment.clock,
            random=random.SystemRandom(),
        ) as channel,
    ):
        await channel.check()
        waiting = await channel.size()
    waits = "1 message" if waiting == 1 else f"{waiting} messages"
    return [passed(INBOX, f"{waits} in {place.name}")]
