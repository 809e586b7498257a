"""What Event Grid asks of an endpoint, and what it would make of the answers.

The test delivery is of a type that no subscriber acts on (EVENT_TYPE).
"""

import json
import secrets
from collections.abc import Sequence

from samples.event_grid import Fate, Handshake, Outcome, Schema
from samples.grid.messages import JsonObject, in_schema, instant
from samples.grid.sending import NoAnswerError, Request
from worker.endpoint import Endpoint
from worker.endpoint_checks import hints
from worker.endpoint_checks.visit import Visit
from worker.ops.doctor import Finding, failed, noted, passed, skipped
from worker.posting import SCHEMA_NAMES

EVENT_TYPE = "invalid.recording-worker.doctor.test"
"""Of the test delivery; of a domain that is nobody's (RFC 2606). The worker ignores it, and so
does whoever filters by types."""
SLOW_SECONDS = 10.0
"""A third of what Event Grid grants; a cold start or a bad day takes more."""
_WRONG_KEY = "a-wrong-key-of-the-doctor"
_SUCCESS = range(200, 300)


async def handshake(visit: Visit, schema: Schema) -> Sequence[Finding]:
    """What creating, or updating, a subscription of this schema begins with."""
    async with visit.grid(schema) as grid:
        started = visit.clock.monotonic()
        shake = await grid.handshake()
        took = visit.clock.monotonic() - started
    visit.patience.heard(anything=shake.status is not None)
    return _of_handshake(schema, shake, took)


def _of_handshake(schema: Schema, shake: Handshake, took: float) -> list[Finding]:
    check = f"handshake, {SCHEMA_NAMES[schema]}"
    if not shake.is_passed:
        return [
            failed(
                check,
                "; ".join(shake.problems),
                hints.of_handshake(schema, shake.status),
                means="Event Grid would not create the subscription",
            )
        ]
    seen = f"answered {shake.status} in {took:.2f} s"
    means = "Event Grid would create the subscription"
    notes = [noted(check, note) for note in shake.notes]
    return [passed(check, seen, means), *notes, *_slow(check, took)]


async def delivery(visit: Visit, schema: Schema) -> Sequence[Finding]:
    """A delivery of this schema, with a type of event that nobody acts on."""
    check = f"delivery, {SCHEMA_NAMES[schema]}"
    started = visit.clock.monotonic()
    outcome = await _delivered(visit, schema)
    took = visit.clock.monotonic() - started
    words = outcome.verdict.words
    if outcome.verdict.fate is not Fate.DELIVERED:
        hint = hints.of_delivery(outcome.status)
        return [failed(check, outcome.seen, hint, means=words)]
    seen = f"{outcome.seen} in {took:.2f} s"
    return [passed(check, seen, words), *_slow(check, took)]


async def _delivered(
    visit: Visit, schema: Schema, *, endpoint: Endpoint | None = None
) -> Outcome:
    event = _event(visit, schema)
    async with visit.grid(schema, endpoint=endpoint) as grid:
        outcome = await grid.deliver([event])
    visit.patience.heard(anything=outcome.status is not None)
    return outcome


def _event(visit: Visit, schema: Schema) -> JsonObject:
    """What the test delivery carries: nothing, of no type that anybody knows."""
    event: JsonObject = {
        "id": f"doctor-{secrets.token_hex(8)}",
        "topic": visit.endpoint.topic,
        "subject": "/doctor",
        "data": {},
        "eventType": EVENT_TYPE,
        "eventTime": instant(visit.clock.now()),
        "dataVersion": "1.0",
        "metadataVersion": "1",
    }
    return in_schema(event, schema)


async def rotated_key(visit: Visit) -> Sequence[Finding]:
    """A key that was rotated here and not there yet must cost no recording."""
    check = "delivery with a wrong key"
    if not visit.endpoint.has_credential:
        return [skipped(check, "no key was given")]
    wrong = visit.endpoint.with_credential(_WRONG_KEY)
    outcome = await _delivered(visit, visit.schemas[0], endpoint=wrong)
    fate = outcome.verdict.fate
    if fate is Fate.RETRIED and outcome.status is not None:
        return [passed(check, outcome.seen, outcome.verdict.words)]
    hint = hints.OPEN_TO_ALL if fate is Fate.DELIVERED else hints.FINAL_FOR_ROTATED
    return [failed(check, outcome.seen, hint, means=outcome.verdict.words)]


async def strangers(visit: Visit) -> Sequence[Finding]:
    """Who is not Event Grid, and has no key, gets nothing done."""
    check = "post of a stranger"
    wrong = visit.endpoint.with_credential(_WRONG_KEY)
    post = Request(
        method="POST",
        url=wrong.url,
        headers={**wrong.headers, "Content-Type": "application/json"},
        # Harmless where it is taken.
        body=json.dumps([_event(visit, "eventgrid")]).encode(),
    )
    try:
        reply = await visit.ask(post)
    except NoAnswerError as error:
        return [noted(check, error.seen)]
    seen = f"answered {reply.status}"
    if reply.status not in _SUCCESS:
        return [passed(check, seen)]
    told = failed if visit.endpoint.has_credential else noted
    return [told(check, seen, hints.OPEN_TO_ALL)]


def _slow(check: str, took: float) -> list[Finding]:
    if took < SLOW_SECONDS:
        return []
    seen = f"took {took:.0f} s of the 30 s that Event Grid waits"
    return [noted(check, seen, hints.SLOW)]
