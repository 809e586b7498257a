"""The Storage Queue that Event Grid delivers to, and the poison queue beside it.

No retries here: whoever looks into an inbox looks again, and what could not be settled
comes back.
"""

from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from types import TracebackType
from typing import Self

from azure.core.exceptions import (
    AzureError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient

from worker.errors import ConfigError, QueueUnavailableError
from worker.model import InboxMessage
from worker.storage_clients import Identity, queue_client
from worker.storage_places import Place

POISON = "-poison"
_SOMEBODY_ELSES = {"PopReceiptMismatch", "MessageNotFound"}


class InboxStorageQueue:
    """Satisfies handlers.inbox.InboxQueue; an async context manager."""

    def __init__(self, place: Place, identity: Identity) -> None:
        self._place = place
        self._inbox = queue_client(place, identity)
        self._poison = queue_client(place, identity, suffix=POISON)
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for client in (self._inbox, self._poison):
                await stack.enter_async_context(client)
                await self._make_sure_of(client)
            self._open = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._open.aclose()

    async def _make_sure_of(self, client: QueueClient) -> None:
        """Create the queue if need be; ConfigError if it is missing and that is forbidden.

        A service that can't be reached now will be when it is needed.
        """
        try:
            await client.create_queue()
        except ResourceExistsError:
            return
        except HttpResponseError:
            await self._refuse_missing(client)
        except AzureError:
            return

    async def _refuse_missing(self, client: QueueClient) -> None:
        name = client.queue_name
        try:
            # The one look that every role and signature for reading permits.
            await client.peek_messages()
        except ResourceNotFoundError as error:
            raise ConfigError(
                [f"WORKER_INBOX: there is no queue {name!r}, and we may not create it"],
                hint=self._create_command(name),
            ) from error
        except AzureError:
            return

    def _create_command(self, name: str) -> str:
        account = self._place.account
        return (
            f"az storage queue create --name {name} --account-name {account}"
            " --auth-mode login"
        )

    async def receive(self, count: int, *, hide_seconds: int) -> Sequence[InboxMessage]:
        with self._told_apart(self._inbox):
            pages = self._inbox.receive_messages(
                messages_per_page=count, visibility_timeout=hide_seconds
            ).by_page()
            async for page in pages:
                return [_message(message) async for message in page]
        return []

    async def hide(self, message: InboxMessage, *, seconds: int) -> None:
        with self._told_apart(self._inbox):
            await self._inbox.update_message(
                message.id, message.receipt, visibility_timeout=seconds
            )

    async def delete(self, message: InboxMessage) -> None:
        with self._told_apart(self._inbox):
            await self._inbox.delete_message(message.id, message.receipt)

    async def poison(self, text: str) -> None:
        with self._told_apart(self._poison):
            await self._poison.send_message(text, time_to_live=-1)

    @contextmanager
    def _told_apart(self, client: QueueClient) -> Iterator[None]:
        """Errors of the SDK are ours, or none: a message may be somebody else's by now."""
        try:
            yield
        except AzureError as error:
            code = _code(error)
            if code in _SOMEBODY_ELSES:
                return
            is_missing = code == "QueueNotFound"
            raise QueueUnavailableError(
                f"inbox {client.queue_name!r}: {code}",
                hint=self._create_command(client.queue_name) if is_missing else None,
            ) from error


def _message(message: QueueMessage) -> InboxMessage:
    return InboxMessage(
        id=message.id,
        receipt=message.pop_receipt or "",
        text=message.content or "",
        deliveries=message.dequeue_count or 1,
    )


def _code(error: AzureError) -> str:
    """The service's own word, else the status or what went wrong; never the request."""
    told = getattr(error, "error_code", None)
    status = getattr(error, "status_code", None)
    # Known codes are members of an enum, others plain text.
    return str(getattr(told, "value", told) or status or type(error).__name__)
