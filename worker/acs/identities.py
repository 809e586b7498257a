"""Who takes part in calls, as operators type it: raw ids, and phone numbers as they are. Pure.

https://learn.microsoft.com/azure/communication-services/concepts/identifiers
"""

import re
from collections.abc import Sequence

from worker.acs.trouble import UnfitRequestError

_NUMBER = re.compile(r"\+[0-9]{3,15}", re.ASCII)
_GUID = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_RAW = re.compile(
    r"8:(?:acs|spool|gcch-acs|dod-acs):[\w.-]{1,200}"
    rf"|(?:8|28):(?:orgid|gcch|dod):{_GUID}",
    re.ASCII,
)
_PHONE_PREFIX = "4:"
SHAPES = "8:acs:… (ACS user), 8:orgid:… (Teams user), or +NUMBER (phone)"
VOICEMAIL = (
    "voicemail has no server-side API: only the calling SDK of a client transfers there"
)


def raw_id(text: str) -> str:
    """The raw id of who is meant. Raises UnfitRequestError, which doesn't repeat it."""
    said = text.strip()
    if said.casefold() == "voicemail":
        raise UnfitRequestError(VOICEMAIL)
    number = said.removeprefix(_PHONE_PREFIX)
    if _NUMBER.fullmatch(number):
        return _PHONE_PREFIX + number
    if _RAW.fullmatch(said):
        return said
    raise UnfitRequestError(f"an identity is {SHAPES}")


def raw_ids(texts: Sequence[str]) -> tuple[str, ...]:
    """The same of several; nobody twice."""
    found = tuple(raw_id(text) for text in texts)
    if len(set(found)) < len(found):
        raise UnfitRequestError("somebody is named twice")
    return found


def phone_number(text: str) -> str:
    """A phone number with its `+`. Raises UnfitRequestError."""
    number = text.strip().removeprefix(_PHONE_PREFIX)
    if not _NUMBER.fullmatch(number):
        raise UnfitRequestError("a caller id is a phone number, with its + and country")
    return number
