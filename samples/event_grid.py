"""A stand-in for Event Grid's delivery to a webhook, as the documentation has it.

    subscription = Subscription(name="recordings", endpoint=URL_WITH_QUERY)
    async with EventGrid(subscription) as grid:
        shake = await grid.handshake()
        print(shake.is_passed, shake.problems, shake.notes)
        for batch in grid.batches(events_in(json.loads(body))):
            outcome = await grid.deliver(batch)
            print(outcome.status, outcome.verdict.fate, outcome.words)

One request at a time, and nothing is sent twice; no call here raises for what an endpoint
answers or fails to. `handshake` is the one that the schema asks for, `validate` and
`consent` are either of them. `outcome.words` reads `answered 503: Event Grid would send the
events again, in 30 s at the earliest`; neither it nor a problem or note of a handshake ever
holds the URL, a token or the code. Real endpoints are https and resolve in public; loopback
may be plain http. A session of the caller's (proxy, trust, timeouts) is used as it is and
left open.

What `deliver` leaves out is `Dispatcher`: the retry schedule, time to live, probation, dead
letters, duplicates, on any clock:

    dispatcher = Dispatcher(grid, clock=clock, container=container, conduct=Conduct(seed=7))
    dispatcher.publish(events)
    await dispatcher.run()

From a command line: `python -m samples.event_grid --help`.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Self
from uuid import uuid4

import aiohttp

from samples.grid import handshakes, sending
from samples.grid.batches import batches_of
from samples.grid.conduct import Conduct
from samples.grid.dead_letters import DirectoryContainer
from samples.grid.dispatcher import Dispatcher
from samples.grid.handshakes import Handshake, Validation
from samples.grid.messages import (
    JsonObject,
    SchemaMismatchError,
    encoded,
    events_in,
    headers_of,
    in_schema,
    schema_of,
)
from samples.grid.sending import Late, NoAnswerError, Request
from samples.grid.subscription import Schema, Subscription, SubscriptionError
from samples.grid.verdicts import (
    ANSWER_WITHIN,
    STATUSES,
    Fate,
    Outcome,
    Verdict,
    verdict_of,
)

__all__ = [
    "STATUSES",
    "Conduct",
    "DirectoryContainer",
    "Dispatcher",
    "EventGrid",
    "Fate",
    "Handshake",
    "JsonObject",
    "Outcome",
    "Schema",
    "SchemaMismatchError",
    "Subscription",
    "SubscriptionError",
    "Verdict",
    "events_in",
    "schema_of",
    "verdict_of",
]


class EventGrid:
    """The sending half of one subscription; an async context manager.

    `answer_seconds` is how long an answer may take, of real time.
    """

    def __init__(
        self,
        subscription: Subscription,
        *,
        session: aiohttp.ClientSession | None = None,
        answer_seconds: float = ANSWER_WITHIN.total_seconds(),
    ) -> None:
        self.subscription = subscription
        self._given = session
        self._session: aiohttp.ClientSession | None = session
        self._answer_seconds = answer_seconds
        self._unanswered: set[asyncio.Task[Outcome]] = set()

    async def __aenter__(self) -> Self:
        if self._given is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers={"User-Agent", "Accept"},
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        if unanswered := list(self._unanswered):
            for sent in unanswered:
                sent.cancel()
            await asyncio.wait(unanswered)
        if self._session is not None and self._given is None:
            await self._session.close()

    async def handshake(self) -> Handshake:
        """What the creation of the subscription would begin with, in its schema."""
        if self.subscription.schema == "cloudevents":
            return await self.consent()
        return await self.validate()

    async def validate(self) -> Handshake:
        """Post the validation event of Event Grid's own schema."""
        question = Validation.of(
            self.subscription, ids=(uuid4(), uuid4()), now=datetime.now(UTC)
        )
        try:
            reply = await self._ask(
                "POST", question.headers, json.dumps([question.event]).encode()
            )
        except NoAnswerError as error:
            return Handshake(status=None, problems=(error.seen,))
        return question.judge(reply)

    async def consent(self, *, rate: int | None = None) -> Handshake:
        """Ask for consent as CloudEvents have it; `rate` in requests a minute."""
        headers = handshakes.consent_headers(self.subscription, rate=rate)
        try:
            reply = await self._ask("OPTIONS", headers)
        except NoAnswerError as error:
            return Handshake(status=None, problems=(error.seen,))
        return handshakes.judge_consent(reply, rate=rate)

    def batches(self, events: Iterable[JsonObject]) -> list[list[JsonObject]]:
        """Which events go together in one delivery, in the subscription's schema.

        Raises SchemaMismatchError for a CloudEvent where Event Grid's schema is asked for.
        """
        schema = self.subscription.schema
        converted = [in_schema(event, schema) for event in events]
        return list(batches_of(converted, self.subscription))

    async def deliver(
        self,
        events: Sequence[JsonObject],
        *,
        delivery_count: int = 0,
        late: Late | None = None,
    ) -> Outcome:
        """Post the events as one delivery, once, and say what would become of them.

        All of them share the answer. `delivery_count` is how many attempts there were.
        With `late`, a request without an answer in time goes on, and `late` hears of its
        end, until this is left. Raises SchemaMismatchError, as `batches` does.
        """
        events = [in_schema(event, self.subscription.schema) for event in events]
        headers = headers_of(events, self.subscription, delivery_count=delivery_count)
        request = self._request("POST", headers, encoded(events, self.subscription))
        if late is not None:
            return await self._deliver_or_hear(request, late)
        return await sending.deliver(
            self._open_session, request, answer_seconds=self._answer_seconds
        )

    async def _deliver_or_hear(self, request: Request, late: Late) -> Outcome:
        sent = asyncio.create_task(
            sending.deliver(self._open_session, request, answer_seconds=None),
            name="delivery",
        )
        self._unanswered.add(sent)
        sent.add_done_callback(self._unanswered.discard)
        done, _ = await asyncio.wait({sent}, timeout=self._answer_seconds)
        if done:
            return sent.result()

        def hear(ended: asyncio.Task[Outcome]) -> None:
            if not ended.cancelled():
                late(ended.result())

        sent.add_done_callback(hear)
        return sending.no_answer_within(self._answer_seconds).outcome

    async def _ask(
        self, method: str, headers: Mapping[str, str], body: bytes = b""
    ) -> handshakes.Reply:
        return await sending.ask(
            self._open_session,
            self._request(method, headers, body),
            answer_seconds=self._answer_seconds,
        )

    def _request(self, method: str, headers: Mapping[str, str], body: bytes) -> Request:
        return Request(
            method=method, url=self.subscription.endpoint, headers=headers, body=body
        )

    @property
    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("an EventGrid is entered before it is used")
        return self._session


if __name__ == "__main__":
    # Imported here, because delivering from the command line imports this module.
    from samples.grid.command import main

    main()
