"""The Storage Queue that Event Grid delivers to, and the poison queue beside it."""

from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from random import Random
from types import TracebackType
from typing import Self

from worker.errors import ConfigError, LeaseLostError, QueueUnavailableError
from worker.model import ReceivedMessage
from worker.ports import Clock
from worker.queues.storage.channel import Channel
from worker.storage_clients import Identity
from worker.storage_errors import create_command
from worker.storage_places import Place

POISON = "-poison"


class InboxStorageQueue:
    """Satisfies handlers.inbox.InboxQueue; an async context manager.

    Creates the queues that are missing, where that is allowed. What a human must mend raises
    ConfigError, whose hint is a command; a service that is down comes back.
    """

    def __init__(
        self, place: Place, identity: Identity, *, clock: Clock, random: Random
    ) -> None:
        def channel(suffix: str) -> Channel:
            return Channel(place, identity, suffix=suffix, clock=clock, random=random)

        self._inbox = channel("")
        self._poison = channel(POISON)
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            for channel in (self._inbox, self._poison):
                await opening.enter_async_context(channel)
                await self._make_sure_of(channel)
            self._open = opening.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._open.aclose()

    async def _make_sure_of(self, channel: Channel) -> None:
        try:
            await channel.make_sure(create=True)
        except QueueUnavailableError as error:
            # A signature of the inbox alone is enough while nothing is poison.
            is_enough = channel is self._poison and error.hint != create_command(
                channel.place
            )
            if error.hint is not None and not is_enough:
                raise ConfigError([f"inbox: {error}"], hint=error.hint) from error

    async def receive(
        self, count: int, *, hide_seconds: int
    ) -> Sequence[ReceivedMessage]:
        return await self._inbox.receive(count, seconds=hide_seconds)

    async def hide(self, message: ReceivedMessage, *, seconds: int) -> None:
        with suppress(LeaseLostError):
            await self._inbox.update(message.id, message.receipt, seconds=seconds)

    async def delete(self, message: ReceivedMessage) -> None:
        with suppress(LeaseLostError):
            await self._inbox.delete(message.id, message.receipt)

    async def poison(self, text: str) -> None:
        await self._poison.send(text)
