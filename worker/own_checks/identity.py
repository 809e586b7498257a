"""Who we are to Azure, and what we may do there that we should not."""

import asyncio
import getpass
import os
import re
from collections.abc import Iterator, Sequence
from functools import partial

from azure.core.exceptions import AzureError

from worker import names
from worker.entra import MachineIdentity, why_no_token
from worker.ops.doctor import Check, Finding, failed, noted, passed
from worker.own_checks.deployment import Deployment, guarded
from worker.settings_process import variable
from worker.storage_errors import protect_command
from worker.storage_places import Place

IDENTITY, RIGHTS = "identity", "rights"
STORAGE_SCOPE = "https://storage.azure.com/.default"
ACS_SCOPE = "https://communication.azure.com//.default"
"""The second slash is ACS's own."""
TOKEN_SECONDS = 15.0
_ID = re.compile(r"[0-9a-fA-F-]{36}")


def identity_checks(deployment: Deployment) -> Iterator[Check]:
    """One line for each credential in use."""
    settings = deployment.settings
    yield guarded(IDENTITY, _of_process, deployment)
    for field, place in settings.places.items():
        look = partial(_of_place, variable(field), place)
        yield guarded(IDENTITY, look, deployment)
    if settings.connection_strings:
        yield guarded(IDENTITY, _of_keys, deployment)
    if settings.endpoints:
        yield guarded(IDENTITY, partial(_of_token, "ACS", ACS_SCOPE), deployment)


async def _of_process(_deployment: Deployment) -> Sequence[Finding]:
    return [passed(IDENTITY, f"on this machine: {_user()}")]


def _user() -> str:
    try:
        return f"{getpass.getuser()} (uid {os.getuid()})"
    except (KeyError, OSError):
        # A container's user needs no name.
        return f"uid {os.getuid()}"


async def _of_keys(deployment: Deployment) -> Sequence[Finding]:
    count = len(deployment.settings.connection_strings)
    return [passed(IDENTITY, f"to ACS: {count} access key{'s' if count > 1 else ''}")]


async def _of_place(
    name: str, place: Place, deployment: Deployment
) -> Sequence[Finding]:
    """In the order in which worker.storage_clients chooses."""
    if place.sas:
        return [passed(IDENTITY, f"to {name}: the signature in its URL")]
    account = deployment.settings.storage_account
    if account is None or not account.is_of(place):
        return await _of_token(name, STORAGE_SCOPE, deployment)
    what = "access key" if account.key else "signature"
    return [passed(IDENTITY, f"to {name}: the {what} of {place.account}")]


async def _of_token(
    name: str, scope: str, _deployment: Deployment
) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(TOKEN_SECONDS), MachineIdentity() as identity:
            token = (await identity.get_token_info(scope)).token
    except (AzureError, TimeoutError, ValueError) as error:
        seen = f"to {name}: no token of Entra ID: {why_no_token(error)}"
        return [failed(IDENTITY, seen, "az login")]
    return [passed(IDENTITY, f"to {name}: Entra ID, {_object_in(token)}")]


def _object_in(token: str) -> str:
    """Who it is for, as role assignments name them. Ours: there is nothing to verify."""
    # Start-up cost: cryptography is for those who use it.
    import jwt

    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return "as this machine is known there"
    found = str(claims.get("oid", ""))
    return f"object {found}" if _ID.fullmatch(found) else "as nobody that it names"


async def rights(deployment: Deployment) -> Sequence[Finding]:
    """Nobody needs to delete there but who types `recordings erase` or `queue prune`."""
    place = deployment.settings.archive_place
    if place is None:
        return []
    # Start-up cost: the SDK is for those who use it.
    from worker.archives.rights import may_delete
    from worker.storage_clients import open_identity

    async with open_identity(deployment.settings.storage_account) as identity:
        may = await may_delete(place, identity, names.PROBE)
    if not may:
        return [passed(RIGHTS, "this identity can't delete what is archived")]
    seen = (
        "this identity may delete what is archived; only `recordings erase` needs that"
    )
    return [noted(RIGHTS, seen, protect_command(place))]
