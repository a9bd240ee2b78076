"""One OpenID provider, asked over HTTP: little time, little room, and nothing over what is not https.

A provider is somebody else's machine: it may be away, slow, or say too much. Each question has an end, each answer a
size, and nothing is followed elsewhere.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import quote_plus

import attrs
import httpx
import trio

from pharos.helm.accounts.oidc.answers import Tokens
from pharos.helm.accounts.oidc.metadata import Metadata, read_metadata, well_known
from pharos.helm.accounts.oidc.tokens import Key, UnknownKeyError, Wanted, read_keys, verify_token
from pharos.helm.accounts.oidc.userinfo import add_userinfo
from pharos.helm.errors import BusyError, ProviderAwayError, ProviderError
from pharos.helm.live.board import now_us
from pharos.helm.model.oidc import Claims, Client, check_issuer
from pharos.wire.units import HOURS, KIB, SECONDS
from pharos.wire.world import in_thread

# A person waits in front of it; what has not come by then is tried again by a click.
TIMEOUT: Final = 10 * SECONDS
MAX_ANSWER: Final = 256 * KIB
"""The largest document of keys that we know has 30 kB."""
# A provider that is replaced or gets new endpoints says so weeks before.
LIFETIME: Final = 1 * HOURS
# A token with a key that nobody has seen may be asked for by anybody; the provider shall not suffer from it.
PAUSE: Final = 30 * SECONDS
# One reads for all; a provider that lets everybody wait its whole time is waited for by so many.
MAX_OPENER: Final = 16 * KIB
"""Octets of an access token: servers take no longer headers."""
MAX_WAITING: Final = 16
_JSON: Final = {"Accept": "application/json", "Accept-Encoding": "identity"}


@attrs.frozen
class _Kept:
    """What was read last, and when, by the monotonic clock."""

    metadata: Metadata
    keys: tuple[Key, ...]
    read_at: float


class Provider:
    """Asks one issuer, and keeps what it publishes."""

    def __init__(self, issuer: str) -> None:
        self.issuer: Final = check_issuer(issuer)
        self._kept: _Kept | None = None
        self._turn = trio.Lock()
        self._trust: ssl.SSLContext | None = None

    async def metadata(self) -> Metadata:
        """Return what the provider publishes of itself.

        Raises: ProviderAwayError, ProviderError.
        """
        return (await self._read()).metadata

    async def keys(self) -> tuple[Key, ...]:
        """Return the keys that sign its ID tokens. Raises: ProviderAwayError, ProviderError."""
        return (await self._read()).keys

    async def verified(self, tokens: Tokens, client: Client, *, nonce: str = "", proven_since: float = 0.0) -> Claims:
        """Return what an ID token says, and userinfo where the token names no groups.

        A key that is not known yet is looked for once.

        Raises: ProviderError — it is not to be believed. ProviderAwayError.
        """
        wanted = Wanted(
            issuer=self.issuer,
            client_id=client.client_id,
            groups_claim=client.groups_claim,
            access_token=tokens.access_token,
            nonce=nonce,
            proven_since=proven_since,
        )
        kept = await self._read()
        try:
            claims = verify_token(tokens.id_token, kept.keys, wanted, now=now_us() / 1_000_000)
        except UnknownKeyError:
            newer = await self._read(older_than=kept.read_at + PAUSE)
            claims = verify_token(tokens.id_token, newer.keys, wanted, now=now_us() / 1_000_000)
        url, opener = kept.metadata.userinfo_endpoint, tokens.access_token
        if claims.groups or not url or not 0 < len(opener) <= MAX_OPENER or not opener.isascii():
            return claims
        return add_userinfo(claims, await self._get(url, Authorization=f"Bearer {opener}"), client.groups_claim)

    async def post(self, url: str, form: Mapping[str, str], client: Client) -> tuple[int, bytes]:
        """Send a form in the client's name; return status and body.

        Raises: ProviderAwayError, ProviderError.
        """
        metadata = await self.metadata()
        fields, headers = dict(form), dict(_JSON)
        if client.secret and not metadata.secret_in_form:
            # Each half is a form's value (RFC 6749 §2.3.1).
            both = f"{quote_plus(client.client_id)}:{quote_plus(client.secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(both.encode()).decode()}"
        else:
            fields["client_id"] = client.client_id
            if client.secret:
                fields["client_secret"] = client.secret
        return await self._ask("POST", url, fields, headers)

    async def _read(self, *, older_than: float | None = None) -> _Kept:
        """Return what is published, from memory if that is young enough.

        Raises: BusyError — too many wait for it already. ProviderAwayError, ProviderError.
        """
        if self._turn.statistics().tasks_waiting >= MAX_WAITING:
            raise BusyError("too many wait for the OpenID provider; try again in a few seconds")
        async with self._turn:
            now, kept = trio.current_time(), self._kept
            if kept is not None and now < kept.read_at + LIFETIME and (older_than is None or now < older_than):
                return kept
            metadata = read_metadata(await self._get(well_known(self.issuer)), self.issuer)
            keys = read_keys(await self._get(metadata.jwks_uri), self.issuer)
            self._kept = _Kept(metadata, keys, trio.current_time())
            return self._kept

    async def _get(self, url: str, **headers: str) -> bytes:
        status, body = await self._ask("GET", url, None, _JSON | headers)
        if status != HTTPStatus.OK:
            raise ProviderError(f"{self.issuer} answered {status} where it should publish a document: {url}")
        return body

    async def _ask(
        self, method: str, url: str, form: Mapping[str, str] | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        if self._trust is None:
            # The system's, for a company's own authority stands there. Reading it takes tens of milliseconds.
            self._trust = await in_thread(ssl.create_default_context)
        try:
            with trio.fail_after(TIMEOUT):
                # Nothing of the environment: a proxy of this process's user is not asked to carry sign-ins.
                async with (
                    httpx.AsyncClient(verify=self._trust, timeout=TIMEOUT, trust_env=False) as http,
                    http.stream(method, url, data=form, headers=headers) as response,
                ):
                    return response.status_code, await self._octets(response)
        except (trio.TooSlowError, httpx.TimeoutException) as error:
            raise ProviderAwayError(f"{self.issuer} has not answered within {TIMEOUT:.0f} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ProviderAwayError(f"{self.issuer} cannot be asked: {_reason(error)}") from error

    async def _octets(self, response: httpx.Response) -> bytes:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise ProviderError(f"{self.issuer} packs its answer, though it was asked not to")
        octets = bytearray()
        with trio.CancelScope() as enough:
            async for chunk in response.aiter_raw():
                octets += chunk
                if len(octets) > MAX_ANSWER:
                    # Who leaves the loop leaves httpcore's generators to the garbage collector; a cancelled read ends
                    # them.
                    enough.cancel()
        if len(octets) > MAX_ANSWER:
            raise ProviderError(f"{self.issuer} answers with more than {MAX_ANSWER // KIB} KiB")
        return bytes(octets)


def _reason(error: BaseException) -> str:
    """Return what lies below an error of httpx: a certificate that nobody trusts is said at the very bottom only."""
    below = error
    while (deeper := below.__cause__ or below.__context__) is not None:
        below = deeper
    return str(below) or str(error) or type(below).__name__


class Providers:
    """The provider of this fleet; it changes when somebody sets another issuer, and what was kept goes with it."""

    def __init__(self) -> None:
        self._provider: Provider | None = None

    def of(self, issuer: str) -> Provider:
        """Return the one that asks this issuer."""
        if self._provider is None or self._provider.issuer != issuer:
            self._provider = Provider(issuer)
        return self._provider
