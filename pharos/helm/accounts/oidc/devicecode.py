"""The device code: somebody with another device and a browser says yes to this one (RFC 8628).

    async def begin(provider: Provider, client: Client) -> DeviceGrant
    async def poll(provider: Provider, client: Client, grant: DeviceGrant) -> Claims

The client is ``read_client(db, vault)`` of `pharos.helm.accounts.oidc.settings`, the provider
``context.oidc.of(client.issuer)``. Both verbs may be cancelled at any time, and poll ends by itself when the code does.
"""

from __future__ import annotations

from typing import Final

import attrs
import trio

from pharos.helm.accounts.oidc.answers import DeviceCode, RefusedError, Tokens, read_answer
from pharos.helm.accounts.oidc.provider import Provider
from pharos.helm.errors import NotSignedInError, ProviderAwayError, ProviderError
from pharos.helm.model.oidc import Claims, Client, check_url, is_plain
from pharos.wire.units import MINUTES, SECONDS

GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:device_code"
SCOPE: Final = "openid profile email"
# A login that waits for a person is carried for 10 minutes (security.md row 26).
LONGEST: Final = 10 * MINUTES
# RFC 8628 §3.5: five seconds where the provider says nothing, and five more each time it asks for patience.
SLOWER: Final = 5 * SECONDS
SHORTEST_INTERVAL: Final = 1 * SECONDS
LONGEST_INTERVAL: Final = 60 * SECONDS
MAX_USER_CODE: Final = 64
MAX_DEVICE_CODE: Final = 4096


@attrs.frozen(kw_only=True)
class DeviceGrant:
    """A login that waits for a person."""

    device_code: str = attrs.field(repr=False)
    user_code: str
    """What the person types."""
    verification_uri: str
    """Where."""
    verification_uri_complete: str
    """The same with the code in it, for a QR code; empty where the provider has none."""
    interval: float
    """Seconds between two questions."""
    expires_at: float
    """By Trio's clock."""


async def begin(provider: Provider, client: Client) -> DeviceGrant:
    """Ask for a code.

    Raises: ProviderError — the provider has no device code, or refuses. ProviderAwayError.
    """
    metadata = await provider.metadata()
    if not metadata.device_authorization_endpoint:
        raise ProviderError(f"{provider.issuer} offers no login by device code")
    asked_at = trio.current_time()
    status, body = await provider.post(metadata.device_authorization_endpoint, {"scope": SCOPE}, client)
    return read_grant(read_answer(DeviceCode, status, body, provider.issuer), provider.issuer, now=asked_at)


async def poll(provider: Provider, client: Client, grant: DeviceGrant) -> Claims:
    """Wait until the person has said yes, and return who it is.

    Raises: NotSignedInError — the person said no, or nothing while the code was good. ProviderError — what the provider
    says is not to be believed.
    """
    metadata = await provider.metadata()
    form = {"grant_type": GRANT_TYPE, "device_code": grant.device_code}
    interval = grant.interval
    while True:
        await trio.sleep(interval)
        if trio.current_time() >= grant.expires_at:
            raise NotSignedInError("nobody has confirmed the code while it was good; ask for another one")
        try:
            status, body = await provider.post(metadata.token_endpoint, form, client)
            tokens = read_answer(Tokens, status, body, provider.issuer)
        except RefusedError as error:
            interval = next_interval(interval, error)
        except ProviderAwayError:
            # RFC 8628 §3.5: a provider that is busy is asked less often.
            interval = min(2 * interval, LONGEST_INTERVAL)
        else:
            return await provider.verified(tokens, client)


def read_grant(answer: DeviceCode, issuer: str, *, now: float) -> DeviceGrant:
    """Return a code as it may be shown to a person, who shall go to an address of the provider's and no other kind.

    Raises: ProviderError.
    """
    try:
        plain = is_plain(issuer)
        check_url(answer.verification_uri, plain=plain)
        if answer.verification_uri_complete:
            check_url(answer.verification_uri_complete, plain=plain)
        if not answer.user_code.isprintable() or not 0 < len(answer.user_code) <= MAX_USER_CODE:
            raise ValueError("a person cannot type its code")
        if not 0 < len(answer.device_code) <= MAX_DEVICE_CODE:
            raise ValueError("its device code is too long")
    except ValueError as error:
        raise ProviderError(f"{issuer} gave a device code that cannot be used: {error}") from error
    return DeviceGrant(
        device_code=answer.device_code,
        user_code=answer.user_code,
        verification_uri=answer.verification_uri,
        verification_uri_complete=answer.verification_uri_complete,
        interval=min(max(answer.interval * SECONDS, SHORTEST_INTERVAL), LONGEST_INTERVAL),
        expires_at=now + min(max(answer.expires_in, 0) * SECONDS, LONGEST),
    )


def next_interval(interval: float, error: RefusedError) -> float:
    """Return how long to wait before the next question.

    Raises: NotSignedInError — there is none, for the login has ended. RefusedError — helm itself was refused.
    """
    if error.code == "authorization_pending":
        return interval
    if error.code == "slow_down":
        return min(interval + SLOWER, LONGEST_INTERVAL)
    if error.code == "access_denied":
        raise NotSignedInError("the login was refused at the provider")
    if error.code == "expired_token":
        raise NotSignedInError("nobody has confirmed the code while it was good; ask for another one")
    raise error
