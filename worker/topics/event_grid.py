"""An Event Grid topic, by the official client: a notice is a CloudEvent."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

from azure.core.credentials import AzureKeyCredential
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError, HttpResponseError
from azure.core.messaging import CloudEvent
from azure.eventgrid.aio import EventGridPublisherClient

from worker.entra import MachineIdentity
from worker.errors import NoticeRefusedError, TopicUnavailableError
from worker.sdk_options import options_for
from worker.stored import Notice
from worker.tracebacks import words_of

PUBLISH_SECONDS = 60.0
"""For all of it; a token may have to be fetched first."""
_CODE = re.compile(r"[A-Za-z]{1,64}")
_TOO_LARGE = 413
_REFUSED = {400, _TOO_LARGE}


class EventGridTopic:
    """Satisfies ports.Topic. `source` says in each event whose it is."""

    def __init__(self, client: EventGridPublisherClient, *, source: str) -> None:
        self._client = client
        self._source = source

    @classmethod
    @asynccontextmanager
    async def open(
        cls, endpoint: str, *, key: str | None, source: str
    ) -> AsyncIterator[Self]:
        """Without a key, this machine's identity is shown."""
        async with _credential(key) as credential:
            client = EventGridPublisherClient(
                endpoint,
                credential,
                **options_for(endpoint),
            )
            async with client:
                yield cls(client, source=source)

    async def publish(self, notices: Sequence[Notice]) -> None:
        events = [self._event(notice) for notice in notices]
        try:
            async with asyncio.timeout(PUBLISH_SECONDS):
                await self._client.send(events)
        except TimeoutError as error:
            raise TopicUnavailableError("the topic did not answer in time") from error
        except AzureError as error:
            raise _ours(error) from error

    def _event(self, notice: Notice) -> CloudEvent[dict[str, Any]]:
        return CloudEvent(
            source=self._source,
            type=notice.type,
            id=notice.id,
            subject=notice.subject,
            time=notice.time,
            data=notice.data,
            datacontenttype="application/json",
        )


@asynccontextmanager
async def _credential(
    key: str | None,
) -> AsyncIterator[AzureKeyCredential | AsyncTokenCredential]:
    if key is not None:
        yield AzureKeyCredential(key)
        return
    async with MachineIdentity() as identity:
        yield identity


def _ours(error: AzureError) -> TopicUnavailableError | NoticeRefusedError:
    """The one table: what an error of the client means to a notice."""
    if not isinstance(error, HttpResponseError) or error.response is None:
        return TopicUnavailableError(words_of(error))
    status = error.status_code
    # The service's prose may hold what it was sent, and with that the key.
    code = str(getattr(error.error, "code", ""))
    said = f" {code}" if _CODE.fullmatch(code) else ""
    message = f"the topic answered {status}{said}"
    if status in _REFUSED:
        return NoticeRefusedError(message, for_good=status == _TOO_LARGE)
    # The client's type of an answer lacks the headers that every answer has.
    asked = str(getattr(error.response, "headers", {}).get("Retry-After", ""))
    return TopicUnavailableError(
        message, retry_after=float(asked) if asked.isdecimal() else None
    )
