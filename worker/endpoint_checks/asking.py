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
from worker.endpoint_checks.visit import Visit, passed
from worker.ops.doctor import Finding, Grade
from worker.posting import SCHEMA_NAMES

EVENT_TYPE = "invalid.recording-worker.doctor.test"
"""Of the test delivery; of a domain that is nobody's (RFC 2606). The worker ignores it, and so
does whoever filters by types."""
SLOW_SECONDS = 10.0
"""A third of what Event Grid grants; a cold start or a bad day takes more."""
_WRONG_KEY = "a-wrong-key-of-the-doctor"
_SUCCESS = range(200, 300)


async def handshakes(visit: Visit) -> Sequence[Finding]:
    """What creating, or updating, a subscription of each schema begins with."""
    findings: list[Finding] = []
    for schema in visit.schemas:
        async with visit.grid(schema) as grid:
            started = visit.clock.monotonic()
            handshake = await grid.handshake()
            took = visit.clock.monotonic() - started
        findings += _of_handshake(schema, handshake, took)
    return findings


def _of_handshake(schema: Schema, handshake: Handshake, took: float) -> list[Finding]:
    check = f"handshake, {SCHEMA_NAMES[schema]}"
    if not handshake.is_passed:
        return [
            Finding(
                check=check,
                grade=Grade.NOT_OK,
                seen="; ".join(handshake.problems),
                means="Event Grid would not create the subscription",
                hint=hints.of_handshake(schema, handshake.status),
            )
        ]
    seen = f"answered {handshake.status} in {took:.2f} s"
    means = "Event Grid would create the subscription"
    notes = [
        Finding(check=check, grade=Grade.NOTE, seen=note) for note in handshake.notes
    ]
    return [passed(check, seen, means), *notes, *_slow(check, took)]


async def deliveries(visit: Visit) -> Sequence[Finding]:
    """A delivery of each schema, with a type of event that nobody acts on."""
    findings: list[Finding] = []
    for schema in visit.schemas:
        check = f"delivery, {SCHEMA_NAMES[schema]}"
        started = visit.clock.monotonic()
        outcome = await _delivered(visit, schema)
        took = visit.clock.monotonic() - started
        is_taken = outcome.verdict.fate is Fate.DELIVERED
        findings.append(
            Finding(
                check=check,
                grade=Grade.OK if is_taken else Grade.NOT_OK,
                seen=f"{outcome.seen} in {took:.2f} s" if is_taken else outcome.seen,
                means=outcome.verdict.words,
                hint="" if is_taken else hints.of_delivery(outcome.status),
            )
        )
        findings += _slow(check, took) if is_taken else []
    return findings


async def _delivered(
    visit: Visit, schema: Schema, *, endpoint: Endpoint | None = None
) -> Outcome:
    event = _event(visit, schema)
    async with visit.grid(schema, endpoint=endpoint) as grid:
        return await grid.deliver([event])


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
        return [Finding(check=check, grade=Grade.SKIPPED, seen="no key was given")]
    wrong = visit.endpoint.with_credential(_WRONG_KEY)
    outcome = await _delivered(visit, visit.schemas[0], endpoint=wrong)
    fate = outcome.verdict.fate
    if fate is Fate.RETRIED and outcome.status is not None:
        return [passed(check, outcome.seen, outcome.verdict.words)]
    hint = hints.OPEN_TO_ALL if fate is Fate.DELIVERED else hints.FINAL_FOR_ROTATED
    return [
        Finding(
            check=check,
            grade=Grade.NOT_OK,
            seen=outcome.seen,
            means=outcome.verdict.words,
            hint=hint,
        )
    ]


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
        return [Finding(check=check, grade=Grade.NOTE, seen=error.seen)]
    seen = f"answered {reply.status}"
    if reply.status not in _SUCCESS:
        return [passed(check, seen)]
    grade = Grade.NOT_OK if visit.endpoint.has_credential else Grade.NOTE
    return [Finding(check=check, grade=grade, seen=seen, hint=hints.OPEN_TO_ALL)]


def _slow(check: str, took: float) -> list[Finding]:
    if took < SLOW_SECONDS:
        return []
    seen = f"took {took:.0f} s of the 30 s that Event Grid waits"
    return [Finding(check=check, grade=Grade.NOTE, seen=seen, hint=hints.SLOW)]
