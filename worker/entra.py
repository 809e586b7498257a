"""Who we are to Entra ID, by whatever this machine offers. The only maker of credentials."""

import asyncio
import re
from typing import TYPE_CHECKING, Any, Self

from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions

from worker.tracebacks import message_of

if TYPE_CHECKING:
    # Half a second of imports that is for those who need a token.
    from azure.identity.aio import DefaultAzureCredential

_CODE = re.compile(r"\bAADSTS\d+\b")
"""https://learn.microsoft.com/entra/identity-platform/reference-error-codes"""


def why_no_token(error: BaseException) -> str:
    """What azure-identity raised, in one line: its first, and the codes of Entra ID.

    The rest is what a service answered, which may be what it was sent.
    """
    codes = ", ".join(dict.fromkeys(_CODE.findall(str(error))))
    told = message_of(error).rstrip(".")
    return f"{told} ({codes})" if codes else told


class MachineIdentity:
    """DefaultAzureCredential, made when it is first asked: managed or workload identity,
    AZURE_CLIENT_ID and its like, az login.

    An async context manager; an `AsyncTokenCredential` for the SDK.
    """

    def __init__(self) -> None:
        self._made: DefaultAzureCredential | None = None
        self._making = asyncio.Lock()

    async def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        **options: Any,
    ) -> AccessToken:
        credential = await self._credential()
        return await credential.get_token(
            *scopes, claims=claims, tenant_id=tenant_id, **options
        )

    async def get_token_info(
        self, *scopes: str, options: TokenRequestOptions | None = None
    ) -> AccessTokenInfo:
        credential = await self._credential()
        return await credential.get_token_info(*scopes, options=options)

    async def _credential(self) -> "DefaultAzureCredential":
        async with self._making:
            if self._made is None:
                self._made = await asyncio.to_thread(_new_credential)
            return self._made

    async def forget(self) -> None:
        """Give up all tokens that are held, as one was refused; the next one is new."""
        made, self._made = self._made, None
        if made is not None:
            await made.close()

    async def close(self) -> None:
        await self.forget()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _new_credential() -> "DefaultAzureCredential":
    from azure.identity.aio import DefaultAzureCredential

    return DefaultAzureCredential()
