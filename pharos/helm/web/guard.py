"""Who may speak to the loopback edge at all: exact Host, and Origin where a browser sends one (docs/attacks.md).

A page of any site can make a browser open http://localhost:8440: the name it used stands in Host (DNS rebinding) and
the page's own address in Origin. SameSite cookies do not see ports, so the port counts too.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from quart import Response, request, websocket
from quart_trio import QuartTrio

from pharos.helm.web.problems import problem

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self';"
        " connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none';"
        " require-trusted-types-for 'script'; trusted-types svelte-trusted-html"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


# The page itself, or a person who typed the address.
OWN_SITES = frozenset({"same-origin", "none"})
CALLBACK: Final = "/api/v1/session/oidc/callback"
"""Where the OpenID provider sends browsers back to (`pharos.helm.web.oidc`)."""


def guard_loopback(app: QuartTrio, hosts: Collection[str], *, scheme: str = "http") -> None:
    """Refuse requests whose Host is not one of ``hosts`` (``localhost:8440``) or whose Origin is another site's."""
    origins = {f"{scheme}://{host}" for host in hosts}

    def verdict(host: str, origin: str | None) -> Response | None:
        if host not in hosts:
            return problem(421, f"this helm is not {host!r}")
        if origin is not None and origin not in origins:
            return problem(403, "another site's page asked for this")
        return None

    @app.before_request
    async def check_request() -> Response | None:
        # Browsers say by themselves whose page asks; programs do not say it at all.
        site = request.headers.get("Sec-Fetch-Site", "none")
        refused = request.method != "GET" or request.path.startswith("/api/")
        if site not in OWN_SITES and refused and not _comes_back():
            return problem(403, "another site's page asked for this")
        return verdict(request.headers.get("Host", ""), request.headers.get("Origin"))

    @app.before_websocket
    async def check_websocket() -> Response | None:
        if websocket.headers.get("Sec-Fetch-Site", "none") not in OWN_SITES:
            return problem(403, "another site's page asked for this")
        return verdict(websocket.headers.get("Host", ""), websocket.headers.get("Origin"))

    @app.after_request
    async def add_headers(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Cache-Control", "no-store")
        return response


def _comes_back() -> bool:
    """Tell whether this is a whole window that the OpenID provider sends back: no frame, no image, no script's fetch.

    The provider is another site, so it says nothing about who asks. What keeps the wrong ones out there is the cookie
    of the browser that began.
    """
    return (
        request.method == "GET"
        and request.path == CALLBACK
        and request.headers.get("Sec-Fetch-Mode") == "navigate"
        and request.headers.get("Sec-Fetch-Dest") == "document"
    )
