"""Tombstones: what was erased stays erased, whoever announces it again."""

from collections.abc import AsyncIterator

from worker import names
from worker.errors import AlreadyExistsError
from worker.model import Chunk, ChunkKey, RecordingKey
from worker.ports import Archive
from worker.stored import Erased, decode, encode

ERASED = "erased"
"""Why a chunk is missing that nobody brings home again."""


async def of_chunk(archive: Archive, chunk: Chunk) -> Erased | None:
    """The tombstone of an announced chunk, under either key that its receipt may have had."""
    is_anothers = False
    async for tombstone in _under(archive, chunk.key):
        if tombstone.recording == chunk.recording:
            return tombstone
        is_anothers = True
    if not is_anothers:
        return None
    return await of_key(archive, names.other_key(chunk), chunk.recording)


async def of_key(
    archive: Archive, key: ChunkKey, recording: RecordingKey
) -> Erased | None:
    """The same under one key. Another recording's is none: that one was erased, not this."""
    async for tombstone in _under(archive, key):
        if tombstone.recording == recording:
            return tombstone
    return None


async def make(archive: Archive, tombstone: Erased) -> bool:
    """Make sure that there is one; whether it was made."""
    number = 1
    while True:
        name = names.erased_name(tombstone.key, candidate=number)
        try:
            await archive.create(name, encode(tombstone))
        except AlreadyExistsError:
            taken = await archive.read(name)
            if taken and decode(Erased, taken).recording == tombstone.recording:
                return False
            number += 1
        else:
            return True


async def _under(archive: Archive, key: ChunkKey) -> AsyncIterator[Erased]:
    number = 1
    while data := await archive.read(names.erased_name(key, candidate=number)):
        yield decode(Erased, data)
        number += 1
