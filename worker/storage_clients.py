"""Clients of Azure Storage: the official SDK's, set up in one way for archive and queues."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.core.credentials_async import AsyncTokenCredential
from azure.storage.blob.aio import ContainerClient
from azure.storage.queue.aio import QueueClient

from worker.entra import MachineIdentity
from worker.sdk_options import options_for
from worker.storage_places import ConnectionString, Place

RANGE_BYTES = 8 * 1024 * 1024
"""A range up to this long is handed over as it came, without one more copy."""
Credential = AzureNamedKeyCredential | AzureSasCredential | AsyncTokenCredential


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who we are to Azure Storage: what the URL bears, else the connection string, else Entra."""

    connection_string: ConnectionString | None
    token: AsyncTokenCredential | None

    def for_place(self, place: Place) -> Credential | None:
        """The credential to be used there: a key is sent to its own account alone."""
        if place.sas:
            return AzureSasCredential(place.sas)
        told = self.connection_string
        if told is None or not told.is_of(place):
            return self.token
        if told.key:
            return AzureNamedKeyCredential(told.account, told.key)
        return AzureSasCredential(told.sas)


@asynccontextmanager
async def open_identity(
    connection_string: ConnectionString | None,
) -> AsyncIterator[Identity]:
    """What the connection string is not for is asked for as the machine's identity."""
    async with MachineIdentity() as token:
        yield Identity(connection_string=connection_string, token=token)


def container_client(place: Place, identity: Identity) -> ContainerClient:
    """A client of the place's container; an async context manager."""
    return ContainerClient(
        place.account_url,
        place.name,
        credential=identity.for_place(place),
        max_chunk_get_size=RANGE_BYTES,
        **options_for(place.account_url),
    )


def queue_client(place: Place, identity: Identity, *, suffix: str = "") -> QueueClient:
    """A client of the place's queue, or of the one beside it with `suffix` on its name.

    Without codecs: one message that is no base64 would make a whole page unreadable.
    """
    return QueueClient(
        place.account_url,
        place.name + suffix,
        credential=identity.for_place(place),
        **options_for(place.account_url),
    )
