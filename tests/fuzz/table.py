"""All targets, by name, and their inputs."""

from collections.abc import Mapping
from pathlib import Path
from random import Random

from tests.fuzz.target import Target
from tests.fuzz.targets import (
    answer,
    array,
    callback,
    delivery,
    documents,
    inbox,
    location,
    media,
    metadata,
    request,
    resume,
    setting,
    tokens,
)
from tests.fuzz.targets.planted import PLANTED

TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        delivery.BODY,
        delivery.BINARY,
        delivery.SUBJECT,
        inbox.INBOX,
        callback.CALLBACK,
        array.ARRAY,
        request.REQUEST,
        request.WIRE,
        location.LOCATION,
        answer.ANSWER,
        media.MP4,
        media.WAV,
        media.MP3,
        metadata.METADATA,
        documents.DOCUMENT,
        documents.NAME,
        documents.LEASE,
        resume.RESUME,
        setting.SETTING,
        tokens.TOKEN,
        tokens.CLAIMS,
        tokens.KEY_SET,
    )
}
CORPUS = Path(__file__).parent / "corpus"
"""Inputs that once broke a promise, in a folder for each target: every run begins with them."""
_LISTED = list(TARGETS.values())


def inputs_of(target: Target) -> list[bytes]:
    """The seeds, and what is in the corpus."""
    kept = sorted((CORPUS / target.name).glob("*"))
    return [*target.seeds(), *(path.read_bytes() for path in kept)]


def find(name: str) -> Target:
    """A target of the table, ALL of them, or the planted one."""
    return {**TARGETS, ALL.name: ALL, PLANTED.name: PLANTED}[name]


def _check_any(data: bytes) -> None:
    if data:
        _chosen(data).check(data[1:])


def _mutate_any(data: bytes, random: Random) -> bytes:
    return data[:1] + _chosen(data).mutate(data[1:], random) if data else data


def _chosen(data: bytes) -> Target:
    return _LISTED[data[0] % len(_LISTED)]


def _all_inputs() -> list[bytes]:
    return [
        bytes([number]) + data
        for number, target in enumerate(_LISTED)
        for data in inputs_of(target)
    ]


ALL = Target(name="all", check=_check_any, seeds=_all_inputs, mutate=_mutate_any)
"""Every target in one process, for a short run; the first byte of an input chooses."""
