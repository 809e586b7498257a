"""The source behind Azure Communication Services: ranged reads as ours, and the delete."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Self

import aiohttp
from yarl import URL

from worker import names
from worker.limits import ConnectionCeiling
from worker.model import DeleteAnswer, SourceFacts
from worker.ports import Clock
from worker.sources import answers
from worker.sources.client import SignedClient, Target
from worker.sources.hosts import HostRules
from worker.sources.session import new_session
from worker.sources.signing import Credentials
from worker.stored import Receipt


class AcsSource:
    """Satisfies ports.Source. An async context manager.

    Each request takes a slot of `ceiling` for as long as its body lasts. A `session` that
    is given is not closed. `version` goes into User-Agent.
    """

    def __init__(
        self,
        *,
        credentials: Credentials,
        hosts: HostRules,
        clock: Clock,
        ceiling: ConnectionCeiling,
        version: str,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        self._credentials = credentials
        self._hosts = hosts
        self._clock = clock
        self._ceiling = ceiling
        self._version = version
        self._session = session
        self._lifetime = AsyncExitStack()
        self._client: SignedClient | None = None

    async def __aenter__(self) -> Self:
        session = self._session
        if session is None:
            session = await new_session(version=self._version, hosts=self._hosts)
            await self._lifetime.enter_async_context(session)
        self._client = SignedClient(
            session=session,
            credentials=self._credentials,
            clock=self._clock,
            ceiling=self._ceiling,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._client = None
        await self._lifetime.aclose()

    def _entered(self) -> SignedClient:
        if self._client is None:
            raise RuntimeError("AcsSource is not entered")
        return self._client

    def check(self, location: str) -> None:
        self._hosts.check(location)

    @asynccontextmanager
    async def open(
        self, location: str, *, resource: str | None, first_bytes: int
    ) -> AsyncIterator["AcsObject"]:
        client = self._entered()
        target = client.target(location, resource=resource, check=self._hosts.check)
        async with AsyncExitStack() as held:
            answer = await held.enter_async_context(
                client.get(target, offset=0, length=first_bytes)
            )
            facts = answers.facts_from_first(
                answer.status,
                answer.response.headers,
                host=answer.host,
                first_bytes=first_bytes,
            )
            expected = answers.first_length(facts, first_bytes=first_bytes)
            body = client.body(answer, expected=expected)
            yield AcsObject(client, target, facts=facts, body=body, held=held)

    async def look(self, location: str, *, resource: str | None) -> "Looked":
        """What is answered to a signed request, be it a refusal; nothing of it is read."""
        client = self._entered()
        target = client.target(location, resource=resource, check=self._hosts.check)
        async with client.look(target) as answer:
            return Looked(
                status=answer.status,
                host=answer.host,
                date=answers.date_of(answer.response.headers),
            )

    async def delete(self, location: str, *, proof: Receipt) -> DeleteAnswer:
        def check(hop: str) -> URL:
            answers.refuse_unproven(hop, proof)
            return self._hosts.check(hop)

        client = self._entered()
        target = client.target(location, resource=proof.resource, check=check)
        return await self._deleted(client, target)

    async def delete_unproven(
        self, location: str, *, resource: str | None
    ) -> DeleteAnswer:
        """Delete on a person's word, where nothing is proven. Not of the port: the engine
        can't ask for it.
        """
        document_id = names.document_in(location)

        def check(hop: str) -> URL:
            answers.refuse_other(hop, document_id)
            return self._hosts.check(hop)

        client = self._entered()
        target = client.target(location, resource=resource, check=check)
        return await self._deleted(client, target)

    async def _deleted(self, client: SignedClient, target: Target) -> DeleteAnswer:
        async with client.delete(target) as answer:
            return DeleteAnswer(
                status=answer.status,
                host=answer.host,
                at=self._clock.now(),
                hops=answer.hops,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """One answer, and when the far side says it was."""

    status: int
    host: str
    date: datetime | None


class AcsObject:
    """Satisfies ports.OpenedObject. Holds a slot until `first` is read to its end."""

    def __init__(
        self,
        client: SignedClient,
        target: Target,
        *,
        facts: SourceFacts,
        body: AsyncGenerator[bytes, None],
        held: AsyncExitStack,
    ) -> None:
        self._client = client
        self._target = target
        self._facts = facts
        self._body = body
        self._held = held

    @property
    def facts(self) -> SourceFacts:
        return self._facts

    async def first(self) -> AsyncGenerator[bytes, None]:
        async with self._held, aclosing(self._body) as pieces:
            async for piece in pieces:
                yield piece

    async def read(self, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        asked = answers.asked_range(offset, length, facts=self._facts)
        async with self._client.get(
            self._target, offset=offset, length=asked.length
        ) as answer:
            answers.check_part(
                answer.status, answer.response.headers, asked=asked, facts=self._facts
            )
            body = self._client.body(answer, expected=asked.length)
            async with aclosing(body) as pieces:
                async for piece in pieces:
                    yield piece
