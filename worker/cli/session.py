"""What every verb starts with: settings, logs, and an opened queue or archive."""

import asyncio
import getpass
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from worker.errors import WorkerError

if TYPE_CHECKING:
    # Start-up cost: these take longer to import than `--help` may take in all.
    from worker.endpoint import Endpoint
    from worker.opening import WholeQueue
    from worker.own_checks.deployment import Deployment
    from worker.ports import Archive
    from worker.settings import Inspection, Settings
    from worker.settings_rules import Use
    from worker.storage_places import Place


T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class Invocation:
    """The options of the root command, for the verbs."""

    env_file: Path | None = None
    verbose: bool = False


class NothingThereError(WorkerError):
    """Reading what no worker has made yet; nothing is created by looking."""

    reason = "nothing-there"
    hint = "recording-worker config"


class NothingToRebuildError(WorkerError):
    """A queue that keeps its own entries: nothing else has them."""

    reason = "nothing-to-rebuild"
    hint = "recording-worker queue list"


class NotInArchiveError(WorkerError):
    """An id that no recording bears."""

    reason = "not-in-archive"
    hint = "recording-worker recordings list"


def invocation_of(context: typer.Context) -> Invocation:
    invocation: Invocation = context.find_root().obj
    return invocation


def settings_for(
    context: typer.Context,
    use: "Use",
    *,
    level: str | None = None,
    overrides: Mapping[str, str] | None = None,
    secrets: Iterable[str] = (),
) -> "Settings":
    """Load the settings and set up logs at `level`; a verb that reads logs warnings alone.

    `overrides` are variables that count more than the environment, `secrets` what no log may
    show beside theirs.
    """
    from worker.log import configure_logging
    from worker.settings import inspect_process

    invocation = invocation_of(context)
    inspection = inspect_process(
        invocation.env_file, use=use, overrides=overrides or {}
    )
    settings = inspection.require()
    level = level or ("warning" if use == "read" else settings.log_level)
    configure_logging(
        level="debug" if invocation.verbose else level,
        line_format=settings.log_format,
        secrets=(*inspection.secrets, *secrets),
    )
    _log_loaded(inspection, settings, use)
    return settings


def _log_loaded(inspection: "Inspection", settings: "Settings", use: "Use") -> None:
    import structlog

    log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)
    log.info(
        "config.loaded",
        use=use.value,
        archive=_shown(settings.archive_place, settings.archive),
        queue=_shown(settings.queue_place, settings.queue),
        source_hosts=settings.source_hosts,
        delete_source=settings.delete_source,
    )
    for problem in inspection.warnings if use != "read" else ():
        log.warning("config.warning", problem=problem)


def _shown(place: "Place | None", text: str) -> str:
    """Where something is, without the signature that a URL may bear."""
    return place.url if place else text


def user() -> str:
    """Who types, for the line that says who did what."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container's user needs no name.
        return str(os.getuid())


def endpoint_for(
    context: typer.Context,
    url: str,
    *,
    headers: Sequence[str],
    plain_http: bool,
    topic: str | None = None,
) -> "Endpoint":
    """A deployed endpoint, and logs that don't show what opens it.

    Without `topic`, the first that the settings accept.
    """
    _, endpoint = settings_and_endpoint(
        context, url, headers=headers, plain_http=plain_http, topic=topic
    )
    return endpoint


def settings_and_endpoint(
    context: typer.Context,
    url: str,
    *,
    headers: Sequence[str],
    plain_http: bool,
    topic: str | None = None,
    secrets: Sequence[str] = (),
) -> "tuple[Settings, Endpoint]":
    """The same with the settings; `secrets` are no log's either."""
    from worker.endpoint import endpoint_of
    from worker.settings_rules import Use

    named = endpoint_of(url, headers=headers, is_plain_allowed=True)
    settings = settings_for(context, Use.READ, secrets=(*named.secrets, *secrets))
    endpoint = endpoint_of(
        url,
        headers=headers,
        keys=[key.get_secret_value() for key in settings.webhook_keys],
        is_plain_allowed=plain_http,
    )
    topics = [topic] if topic else settings.event_topics
    return settings, replace(endpoint, topic=topics[0]) if topics else endpoint


def deployment_for(
    context: typer.Context, use: "Use", *, dead_letters: str | None
) -> "Deployment":
    """What the settings of this process lead to; `dead_letters` is a container's URL."""
    from worker.clock import SystemClock
    from worker.own_checks.dead_letters import place_of
    from worker.own_checks.deployment import Deployment
    from worker.storage_places import signature_texts

    place = place_of(dead_letters) if dead_letters else None
    secrets = signature_texts(place.sas) if place else ()
    settings = settings_for(context, use, level="error", secrets=secrets)
    return Deployment(
        settings=settings, use=use, clock=SystemClock(), dead_letters=place
    )


def ask_queue(
    context: typer.Context,
    question: "Callable[[WholeQueue, Settings], Awaitable[T]]",
    *,
    create: bool = False,
) -> T:
    """Open the queue that exists, ask it, close it; `create`: or one in its place."""
    from worker.opening import open_queue

    settings = _settings_with_queue(context)

    async def ask() -> T:
        async with open_queue(settings, create=create) as queue:
            return await question(queue, settings)

    return asyncio.run(ask())


def _settings_with_queue(context: typer.Context) -> "Settings":
    """Settings that lead to a queue that is there."""
    from worker.settings_rules import Use

    settings = settings_for(context, Use.READ)
    if not settings.has_queue:
        raise NothingThereError(f"there is no queue at {settings.queue} yet")
    return settings


def ask_both(
    context: typer.Context,
    question: "Callable[[WholeQueue, Archive | None, Settings], Awaitable[T]]",
) -> T:
    """Open the queue that exists, and the archive if there is one; ask, and close both."""
    from worker.opening import open_known_archive, open_queue

    settings = _settings_with_queue(context)

    async def ask() -> T:
        async with AsyncExitStack() as stack:
            known = open_known_archive(settings)
            archive = await stack.enter_async_context(known)
            queue = open_queue(settings, create=False, archive=archive)
            return await question(
                await stack.enter_async_context(queue), archive, settings
            )

    return asyncio.run(ask())


def settings_with_archive(context: typer.Context) -> "Settings":
    """Settings that lead to an archive that is there."""
    from worker.settings_rules import Use

    settings = settings_for(context, Use.READ)
    if not settings.has_archive:
        raise NothingThereError(f"there is no archive at {settings.archive} yet")
    return settings


def ask_archive(
    context: typer.Context, question: "Callable[[Archive], Awaitable[T]]"
) -> T:
    """Open the archive that exists, ask it, close it."""
    return look_at_archive(context, lambda archive, _: question(archive))


def look_at_archive(
    context: typer.Context,
    question: "Callable[[Archive, Settings], Awaitable[T]]",
) -> T:
    """The same for a question that needs to know of the settings too."""
    from worker.opening import open_archive

    settings = settings_with_archive(context)

    async def ask() -> T:
        async with open_archive(settings, create=False) as archive:
            return await question(archive, settings)

    return asyncio.run(ask())


def path_of(settings: "Settings", name: str) -> str:
    """Where an object of the archive lies: a file's path, or a blob's name in its container.

    What lies outside the archive has its URL for a name.
    """
    from worker.names import is_external

    if is_external(name):
        return name
    place = settings.archive_place
    if place is None:
        return str(settings.archive_directory / name)
    return "/".join(filter(None, (place.prefix, name)))
