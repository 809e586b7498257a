"""Whether the source can be reached, knows our key or token, and has the same time.

It is asked for a document that is nobody's, so that no recording is touched. As recorded,
it answers 404 to who is authentic, and 401 to who is not.
https://github.com/Azure/azure-sdk-for-net/tree/main/sdk/communication
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus

from worker import app
from worker.errors import SourceUnavailableError
from worker.ops.doctor import Check, Finding, failed, noted, passed, skipped
from worker.own_checks.deployment import Deployment, Looks, guarded
from worker.settings import Settings
from worker.settings_shapes import connection_parts, is_loopback_source
from worker.sources.acs import Looked
from worker.sources.signing import host_of, resource_of

CLOCK = "clock"
NOBODYS = "0-eus-d1-00000000000000000000000000000000"
"""A document that there is not."""
KNOWN_HOSTS = {".asm.skype.com": "storage.asm.skype.com"}
"""Which host of a suffix is sure to be there: the one that redirects to all others."""
SKEW_NOTED, SKEW_FAILED = timedelta(seconds=60), timedelta(minutes=5)
"""Azure Storage refuses signatures that are 15 minutes off; what ACS does is not documented."""
_ABSENT = {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
_REFUSED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


def source_checks(deployment: Deployment) -> Iterator[Check]:
    """One for each host that can be named, and each ACS resource."""
    hosts = list(hosts_of(deployment.settings))
    for host in hosts:
        for resource in _resources(deployment.settings):
            yield guarded(
                f"source {host}",
                _asking(host, resource),
                deployment,
                url=_origin(host),
            )
    if not hosts:
        yield guarded("source", _nobody_to_ask, deployment)


def hosts_of(settings: Settings) -> Iterator[str]:
    """Whom to ask: those that are named in full, and one for a suffix that is known."""
    for entry in settings.source_hosts:
        if not entry.startswith("."):
            yield entry
        elif entry in KNOWN_HOSTS:
            yield KNOWN_HOSTS[entry]


def _resources(settings: Settings) -> Iterator[str]:
    keys = [text.get_secret_value() for text in settings.connection_strings]
    named = [connection_parts(text)["endpoint"] for text in keys]
    for endpoint in (*named, *settings.endpoints):
        yield resource_of(host_of(endpoint) or "")


async def _nobody_to_ask(_deployment: Deployment) -> Sequence[Finding]:
    seen = "no host is known for these WORKER_SOURCE_HOSTS before an event names one"
    return [skipped("source", seen)]


def _asking(host: str, resource: str) -> Looks:
    async def ask(deployment: Deployment) -> Sequence[Finding]:
        async with app.open_source(deployment.settings, deployment.clock) as source:
            before = deployment.clock.now()
            try:
                looked = await source.look(_location(host), resource=resource)
            except SourceUnavailableError as error:
                return [_unreached(error, host)]
        return judged(looked, host=host, resource=resource, at=before)

    return ask


def _unreached(error: SourceUnavailableError, host: str) -> Finding:
    """With a question that needs no key: whoever gets an answer to it gets there."""
    hint = f"curl --head {_origin(host)}"
    return failed(f"source {host}", str(error), hint, means="no chunk comes home")


def _origin(host: str) -> str:
    scheme = "http" if is_loopback_source(host) else "https"
    return f"{scheme}://{host}"


def _location(host: str) -> str:
    return f"{_origin(host)}/v1/objects/{NOBODYS}/content/acsmetadata"


def judged(
    looked: Looked, *, host: str, resource: str, at: datetime
) -> Sequence[Finding]:
    """What the answer says of our key, and of our clock."""
    skew = None if looked.date is None else at - looked.date
    return [
        _of_credential(looked, skew, check=f"source {host}", resource=resource),
        *([] if skew is None else [_of_clock(skew)]),
    ]


def _of_credential(
    looked: Looked, skew: timedelta | None, *, check: str, resource: str
) -> Finding:
    seen = f"{looked.host} answered {looked.status}"
    if looked.status in _ABSENT:
        return passed(check, f"{seen} to a document of nobody: it knows {resource}")
    if looked.status not in _REFUSED:
        return noted(check, f"{seen}: whether it knows {resource} is not to be told")
    why, hint = f"not the key or token of {resource}", _list_keys(resource)
    if skew is not None and abs(skew) > SKEW_FAILED:
        why, hint = "this machine's clock is wrong", "date -u"
    return failed(check, f"{seen}: {why}", hint, means="no chunk comes home")


def _list_keys(resource: str) -> str:
    return f"az communication list-key --name {resource} --resource-group GROUP"


def _of_clock(skew: timedelta) -> Finding:
    seconds = skew.total_seconds()
    seen = f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} the source"
    if abs(skew) > SKEW_FAILED:
        means = "signatures are refused, and deadlines are not when they seem"
        return failed(CLOCK, seen, "date -u", means=means)
    if abs(skew) > SKEW_NOTED:
        return noted(CLOCK, seen, "date -u")
    return passed(CLOCK, seen)
