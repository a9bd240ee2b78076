"""Who may use the desk on this machine's loopback: the browser that opened the link, and no other page in it. Sans-IO.

Loopback is a place, not an identity (docs/adr/0009): other users and programs reach it, and so does a web page that
rebinds a name. Host and Origin have to be ours with the port, and every request carries a cookie that only the link of
this run gives. It is a wall before helm's own sign-in, not in place of it.
"""

from __future__ import annotations

import hmac
from typing import Final

import attrs

from pharos.caravel.admin.link import Headers
from pharos.wire.chance import token_urlsafe

OPEN: Final = "/open/"
"""Before the secret of the link."""
CALLBACK: Final = "/api/v1/session/oidc/callback"
"""Where a provider of single sign-on sends browsers back to; helm asks for the cookie of the one that began."""
SECRET_BYTES: Final = 32
PASSED: Final = frozenset(
    {
        *("accept", "accept-language", "authorization", "content-type", "cookie", "user-agent"),
        *("if-match", "if-none-match", "idempotency-key", "x-pharos-csrf"),
        *("sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest"),
    }
)
"""Headers that helm is told; it has the same list, and says Host itself."""
COOKIES: Final = "pharos_"
"""What the names of helm's own cookies begin with; the browser sends those of all ports, and ours."""
OWN_SITES: Final = frozenset({"same-origin", "none"})


class TurnedAwayError(Exception):
    """A request that helm does not hear of."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status: Final = status


@attrs.define
class Guard:
    """The guard of one run, on one port."""

    port: int
    _link: str = attrs.field(factory=lambda: token_urlsafe(SECRET_BYTES), repr=False)
    _cookie: str = attrs.field(factory=lambda: token_urlsafe(SECRET_BYTES), repr=False)

    @property
    def address(self) -> str:
        """The page's address."""
        return f"http://localhost:{self.port}"

    @property
    def link(self) -> str:
        """What a browser opens, once."""
        return f"{self.address}{OPEN}{self._link}"

    @property
    def cookie_name(self) -> str:
        """With the port, for the browser has one jar for all of them."""
        return f"caravel_desk_{self.port}"

    @property
    def cookie(self) -> str:
        """The Set-Cookie of whoever opens the link. Lax, for single sign-on sends a whole window back from its site."""
        return f"{self.cookie_name}={self._cookie}; Path=/; HttpOnly; SameSite=Lax"

    def opens(self, method: str, target: str) -> bool:
        """Tell whether this is the link, and use it up: the next one has another secret.

        A browser is started with the link in its arguments, where other users of this machine can read it.
        """
        if method != "GET" or not hmac.compare_digest(target.encode(), f"{OPEN}{self._link}".encode()):
            return False
        self._link = token_urlsafe(SECRET_BYTES)
        return True

    def check_site(self, headers: Headers) -> None:
        """Raises: TurnedAwayError — the request is for another host, or of another site's page."""
        hosts, origins = ([value for name, value in headers if name == wanted] for wanted in ("host", "origin"))
        own = {f"localhost:{self.port}", f"127.0.0.1:{self.port}"}
        if len(hosts) != 1 or hosts[0] not in own:
            raise TurnedAwayError(421, "this is another address's page")
        if any(origin != f"http://{hosts[0]}" for origin in origins):
            raise TurnedAwayError(403, "another site's page asked for this")

    def check_page(self, method: str, target: str, headers: Headers) -> None:
        """Raises: TurnedAwayError — another page of the same browser asks, or somebody who has not opened the link."""
        told = dict(headers)
        window = told.get("sec-fetch-mode") == "navigate" and told.get("sec-fetch-dest") == "document"
        comes_back = window and target.partition("?")[0] == CALLBACK
        refused = method != "GET" or (target.startswith("/api/") and not comes_back)
        if told.get("sec-fetch-site", "none") not in OWN_SITES and refused:
            raise TurnedAwayError(403, "another site's page asked for this")
        if not self._has_cookie(headers):
            raise TurnedAwayError(403, "open the link that caravel admin ui printed: it lets one browser in")

    def _has_cookie(self, headers: Headers) -> bool:
        # Not with a jar of the library's: one odd cookie of another port would spoil all.
        wanted = f"{self.cookie_name}={self._cookie}".encode()
        return any(
            hmac.compare_digest(part.encode(), wanted)
            for name, value in headers
            if name == "cookie"
            for part in map(str.strip, value.split(";"))
        )


def passed(headers: Headers) -> Headers:
    """Return what helm is told of a request's headers."""
    kept: dict[str, str] = {}
    for name, value in headers:
        if name in PASSED and name not in kept:
            told = _own_cookies(value) if name == "cookie" else value
            if told:
                kept[name] = told
    return tuple(kept.items())


def _own_cookies(value: str) -> str:
    return "; ".join(part for part in map(str.strip, value.split(";")) if part.startswith(COOKIES))
