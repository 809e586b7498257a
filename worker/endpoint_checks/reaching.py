"""Whether anybody is there whom Event Grid could reach, would trust, and finds ready."""

import asyncio
import re
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

from samples.grid.sending import NoAnswerError, Request
from worker.endpoint_checks import hints
from worker.endpoint_checks.visit import Visit
from worker.ops.doctor import (
    Finding,
    NobodyThereError,
    failed,
    noted,
    passed,
    skipped,
)
from worker.sources.addresses import is_public
from worker.subscribing import proxy_of

SOON = timedelta(days=14)
_REASON = re.compile(r"[a-z][a-z-]{1,40}")


async def address(visit: Visit) -> Sequence[Finding]:
    """Event Grid delivers to https, at public addresses."""
    endpoint = visit.endpoint
    if endpoint.is_loopback:
        seen = "this machine: for a rehearsal, Event Grid can't reach it"
        return [noted("address", seen)]
    if not endpoint.is_https:
        seen, means = "plain http", "Event Grid would not create the subscription"
        return [failed("address", seen, hints.HTTPS, means=means)]
    if proxy_of(endpoint) is not None:
        return [passed("address", "https, through a proxy")]
    private = [each for each in await _addresses(visit) if not is_public(each)]
    if private:
        seen = f"{endpoint.host} is {private[0]} here, which is not public"
        return [noted("address", seen, hints.PUBLIC_NAME)]
    return [passed("address", "https, at a public address")]


async def _addresses(visit: Visit) -> list[str]:
    endpoint = visit.endpoint
    try:
        return await visit.resolve(endpoint.host, endpoint.port)
    except OSError:
        raise NobodyThereError(
            failed(
                "address",
                f"{endpoint.host} can't be resolved",
                hints.NAME,
                means="Event Grid would try again, and give up in the end",
            ),
            is_reachable=False,
        ) from None


async def connection(visit: Visit) -> Sequence[Finding]:
    """Somebody listens, and shows a certificate that is trusted, for some time to come."""
    endpoint = visit.endpoint
    if proxy_of(endpoint) is not None:
        seen = "through a proxy: the certificate was not looked at"
        return [skipped("connection", seen)]
    try:
        async with asyncio.timeout(visit.patience.seconds):
            _, writer = await asyncio.open_connection(
                endpoint.host,
                endpoint.port,
                ssl=visit.tls if endpoint.is_https else None,
            )
    except ssl.SSLError as error:
        raise NobodyThereError(_untrusted(error), is_reachable=True) from error
    except OSError as error:
        raise NobodyThereError(_unconnected(error), is_reachable=False) from error
    try:
        return [_connected(writer, visit.clock.now())]
    finally:
        writer.transport.abort()


def _untrusted(error: ssl.SSLError) -> Finding:
    why = "no TLS that both sides know"
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message
    return failed(
        "connection",
        f"TLS failed: {why}",
        hints.CERTIFICATE,
        means="Event Grid would not connect",
    )


def _unconnected(error: OSError) -> Finding:
    match error:
        case TimeoutError():
            seen = "no connection in time"
        case ConnectionRefusedError():
            seen = "connection refused"
        case _:
            seen = "no connection"
    return failed(
        "connection",
        seen,
        hints.LISTEN,
        means="Event Grid would try again, and give up in the end",
    )


def _connected(writer: asyncio.StreamWriter, now: datetime) -> Finding:
    tls: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
    if tls is None:
        return passed("connection", "somebody listens")
    shown = tls.getpeercert() or {}
    ends_at = datetime.fromtimestamp(
        ssl.cert_time_to_seconds(str(shown["notAfter"])), UTC
    )
    seen = f"trusted until {ends_at:%Y-%m-%d}, {tls.version()}"
    if ends_at - now < SOON:
        return noted("connection", seen, hints.RENEW)
    return passed("connection", seen)


async def readiness(visit: Visit) -> Sequence[Finding]:
    """Ours has a probe that says whether a delivery can be stored now."""
    try:
        probe = visit.endpoint.beside("/readyz")
        reply = await visit.ask(Request(method="GET", url=probe, headers={}))
    except NoAnswerError as error:
        return [noted("/readyz", error.seen)]
    if reply.status == HTTPStatus.OK:
        return [passed("/readyz", "ready")]
    if reply.status != HTTPStatus.SERVICE_UNAVAILABLE:
        seen = f"answered {reply.status}: no probe of ours, or not for the public"
        return [noted("/readyz", seen)]
    told = reply.body.decode(errors="replace").strip()
    why = f": {told}" if _REASON.fullmatch(told) else ""
    return [
        failed(
            "/readyz",
            f"not ready{why}",
            hints.NOT_READY,
            means="Event Grid would send deliveries again",
        )
    ]
