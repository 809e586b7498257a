"""CloudEvents whose attributes are headers ("binary mode"), made one event in JSON. Pure.

Event Grid delivers none, but the libraries of other senders do: without the headers their
bodies would be data of no type, and a recording lost to a 400.
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
"""

import base64
import re
from collections.abc import Mapping
from urllib.parse import unquote

from handlers import envelope

TYPE_HEADER = "ce-type"
_STRUCTURED = "application/cloudevents"
_ATTRIBUTE = re.compile(r"ce-(?!data$)([a-z0-9]+)", re.ASCII | re.IGNORECASE)
"""Named as the standard has it; `data` is the body, whatever a header says."""


def as_structured(body: bytes, headers: Mapping[str, str]) -> bytes:
    """The event that headers and body are together; the body as it is if it is one itself."""
    kind = headers.get("Content-Type", "")
    told = {
        match[1].lower(): unquote(value)
        for name, value in headers.items()
        if (match := _ATTRIBUTE.fullmatch(name))
    }
    if "type" not in told or kind.strip().casefold().startswith(_STRUCTURED):
        return body
    # In base64 the data need not be looked at here; envelope reads it as any other.
    data = base64.b64encode(body).decode()
    event = {**told, "datacontenttype": kind, "data_base64": data}
    return envelope.compact(event).encode()
