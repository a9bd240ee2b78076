"""A login that the fleet's OpenID provider confirms: by the device code, and the mail address that it vouches for."""

from __future__ import annotations

from typing import Final

import attrs
import trio

from pharos.helm.accounts.oidc import devicecode
from pharos.helm.accounts.oidc.devicecode import DeviceGrant
from pharos.helm.accounts.oidc.provider import Provider
from pharos.helm.accounts.oidc.settings import read_client
from pharos.helm.context import HelmContext
from pharos.helm.errors import NotAllowedError, NotFoundError, NotSignedInError, TooManyTriesError
from pharos.helm.model.oidc import Client
from pharos.helm.model.users import User
from pharos.helm.store.credentials import find_by_email
from pharos.helm.store.database import Database
from pharos.wire.rpc.guard import TokenBucket

# Each is a request to somebody else's server, made because a stranger asked: an office in the morning, and then as many
# as people log in.
BURST: Final = 20
PER_SECOND: Final = 0.5
NOT_OFFERED: Final = "this fleet has no login by an OpenID provider"


@attrs.frozen(kw_only=True)
class ProviderLogin:
    """One that waits at the provider."""

    provider: Provider
    client: Client
    grant: DeviceGrant

    @property
    def seconds(self) -> int:
        """How long its code is still good."""
        return max(0, int(self.grant.expires_at - trio.current_time()))


class ProviderDoor:
    """Begins and ends them, for a running helm."""

    def __init__(self, context: HelmContext) -> None:
        self._context: Final = context
        self._rate: Final = TokenBucket(BURST, PER_SECOND)

    async def begin(self) -> ProviderLogin:
        """Ask the provider for a code.

        Raises: NotAllowedError — there is no such login here. TooManyTriesError — not yet. ProviderError.
        """
        client = await self._context.store.read(self._client)
        if not self._rate.take(trio.current_time()):
            raise TooManyTriesError(1 / PER_SECOND)
        provider = self._context.oidc.of(client.issuer)
        return ProviderLogin(provider=provider, client=client, grant=await devicecode.begin(provider, client))

    async def wait(self, login: ProviderLogin) -> User:
        """Wait until somebody has said yes at the provider, and return which user that is.

        Raises: NotAllowedError — nobody did, or it is no user of this fleet. ProviderError.
        """
        try:
            claims = await devicecode.poll(login.provider, login.client, login.grant)
        except NotSignedInError as error:
            raise NotAllowedError(str(error)) from error
        # An address that the provider has not checked is what somebody says of themselves.
        if not claims.email or not claims.email_verified:
            raise NotAllowedError("the provider vouches for no mail address of yours")
        # Settings may have changed while it waited.
        client = await self._context.store.read(self._client)
        user = await self._context.store.read(find_by_email, claims.email)
        if user is None or client.issuer != claims.issuer:
            raise NotAllowedError("nobody in this fleet has the mail address that the provider vouches for")
        return user

    def _client(self, db: Database) -> Client:
        try:
            client = read_client(db, self._context.vault)
        except NotFoundError as error:
            raise NotAllowedError(NOT_OFFERED) from error
        if not client.users:
            raise NotAllowedError(NOT_OFFERED)
        return client
