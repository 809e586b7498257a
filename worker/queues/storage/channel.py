"""One Storage Queue through the SDK: its operations, retried, with our errors."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from random import Random
from types import TracebackType
from typing import Self, TypeVar

from azure.core.exceptions import ResourceExistsError
from azure.storage.queue import QueueMessage

from worker.errors import QueueUnavailableError
from worker.model import ReceivedMessage
from worker.ports import Clock
from worker.queues.storage import trouble
from worker.queues.storage.trouble import QueueBusyError
from worker.retry import RetryPolicy
from worker.storage_clients import Identity, queue_client
from worker.storage_errors import FOREIGN, REFUSALS, code_of
from worker.storage_places import Place

T = TypeVar("T")
OPERATION = RetryPolicy("queue", attempts=4, give_up_after=20, longest_wait=5.0)
"""One operation on a queue: shorter than a third of a lease, so that extending ends in time."""
MOST_AT_ONCE = 32
"""What the service hands out in one answer."""
LONGEST_HIDDEN_SECONDS = 7 * 24 * 3600
FOR_EVER = -1
PROBE = "probe"
PROBE_SECONDS = 60
"""How long a probe lives that could not be taken back."""


class Channel:
    """An async context manager. Raises QueueUnavailableError, and LeaseLostError where said."""

    def __init__(
        self,
        place: Place,
        identity: Identity,
        *,
        suffix: str,
        clock: Clock,
        random: Random,
    ) -> None:
        self.suffix = suffix
        self.name = place.name + suffix
        self.place = replace(place, name=self.name)
        self._clock = clock
        self._random = random
        self._client = queue_client(place, identity, suffix=suffix)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.close()

    async def make_sure(self, *, create: bool) -> None:
        """Raise unless the queue is there; `create`: make it if that is allowed."""
        if create:
            try:
                await self._call(self._create)
            except QueueUnavailableError:
                # It may be there all the same, for one who may not make queues.
                pass
            else:
                return
        await self.check()

    async def _create(self) -> None:
        try:
            await self._client.create_queue()
        except ResourceExistsError:
            return

    async def check(self) -> None:
        """Raise unless the queue is there. Who may only send can't see, and need not."""

        async def look() -> None:
            try:
                # The one look that every role and signature for reading permits.
                await self._client.peek_messages()
            except FOREIGN as error:
                if code_of(error) != "AuthorizationPermissionMismatch":
                    raise

        await self._call(look)

    async def probe(self) -> bool:
        """Send a message and take it back; False: who may send may not take.

        It is hidden from others as long as it lives, but for its last second.
        """
        sent = await self.send(
            PROBE, hidden_seconds=PROBE_SECONDS - 1, live_seconds=PROBE_SECONDS
        )
        try:
            hidden = PROBE_SECONDS // 2
            receipt = await self.update(sent.id, sent.receipt, seconds=hidden)
            await self.delete(sent.id, receipt)
        except QueueUnavailableError as error:
            if code_of(error.__cause__ or error) in REFUSALS:
                return False
            raise
        return True

    async def send(
        self, text: str, *, hidden_seconds: int = 0, live_seconds: int = FOR_EVER
    ) -> ReceivedMessage:
        """Durable when it returns; sent twice, maybe, if an answer was lost."""

        async def send() -> QueueMessage:
            return await self._client.send_message(
                text, visibility_timeout=hidden_seconds, time_to_live=live_seconds
            )

        sent = await self._call(send)
        return ReceivedMessage(
            id=sent.id, receipt=sent.pop_receipt or "", text=text, times=0
        )

    async def receive(self, count: int, *, seconds: int) -> Sequence[ReceivedMessage]:
        """At most `count` messages, hidden from others for so long."""

        async def receive() -> Sequence[ReceivedMessage]:
            pages = self._client.receive_messages(
                messages_per_page=min(count, MOST_AT_ONCE), visibility_timeout=seconds
            ).by_page()
            async for page in pages:
                return [_received(message) async for message in page]
            return []

        return await self._call(receive)

    async def update(
        self, id_: str, receipt: str, *, seconds: int, text: str | None = None
    ) -> str:
        """Hide the message for so long from now; returns the new receipt. LeaseLostError."""

        async def update() -> QueueMessage:
            return await self._client.update_message(
                id_, receipt, visibility_timeout=seconds, content=text
            )

        return (await self._call(update)).pop_receipt or ""

    async def delete(self, id_: str, receipt: str) -> None:
        """Delete the message. LeaseLostError, unless an earlier try of ours may have done it."""
        tries = 0

        async def delete() -> None:
            nonlocal tries
            tries += 1
            try:
                await self._client.delete_message(id_, receipt)
            except FOREIGN as error:
                is_gone = code_of(error) == trouble.NO_MESSAGE
                if not (is_gone and tries > 1):
                    raise

        await self._call(delete)

    async def size(self) -> int:
        """About how many messages there are, hidden ones too; 0 only if there are none."""

        async def size() -> int:
            properties = await self._client.get_queue_properties()
            return properties.approximate_message_count or 0

        return await self._call(size)

    async def first_visible(self) -> str | None:
        """The id of the first message that could be received now."""

        async def peek() -> str | None:
            messages = await self._client.peek_messages(max_messages=1)
            return messages[0].id if messages else None

        return await self._call(peek)

    async def _call(self, operation: Callable[[], Awaitable[T]]) -> T:
        async def once() -> T:
            try:
                return await operation()
            except FOREIGN as error:
                raise trouble.error_from_azure(error, self.place) from error

        retrying = OPERATION.retrying(clock=self._clock, random=self._random)
        try:
            result: T = await retrying(once)
        except QueueBusyError as error:
            raise _unavailable(error) from error
        return result


def _unavailable(error: QueueBusyError) -> QueueUnavailableError:
    asked = error.retry_after
    later = f"; it asks to come back in {asked:g} s" if asked else ""
    return QueueUnavailableError(f"{error}{later}")


def _received(message: QueueMessage) -> ReceivedMessage:
    return ReceivedMessage(
        id=message.id,
        receipt=message.pop_receipt or "",
        text=message.content or "",
        times=message.dequeue_count or 1,
    )
