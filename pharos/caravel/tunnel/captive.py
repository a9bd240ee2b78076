"""Networks that want to be logged in to first: what answers in the place of others is found by one plain HTTP request.

By default nobody is asked who does not hear of this device anyway: the request goes to port 80 of a node that was just
dialled in vain. A portal answers connections to anywhere, with a redirection to itself (RFC 8952 §2.3) or with status
511 (RFC 6585 §6); from the node there comes no answer, or at most a redirection within its own host. Who allows it may
name pages of others whose answer is known, such as those that browsers ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import urljoin, urlsplit

import attrs
import h11
import trio

from pharos.caravel.tunnel.parts import Protect
from pharos.wire.errors import ConfigError
from pharos.wire.tcpdial import Resolve, open_tcp, resolve_by_system
from pharos.wire.units import KIB, SECONDS

PROBE_TIMEOUT: Final = 4 * SECONDS
"""A portal is one hop away; TCP's second try comes after 1 s and its third after 3 s."""
MAX_ANSWER: Final = 16 * KIB
MAX_URL: Final = 2000
"""Characters of an address that is shown to somebody."""
MAX_PROBES: Final = 3
HTTP_PORT: Final = 80
NETWORK_AUTHENTICATION_REQUIRED: Final = 511
_REDIRECTIONS: Final = frozenset({301, 302, 303, 307, 308})
_PLAIN: Final = "http"


@attrs.frozen(kw_only=True)
class PortalCheck:
    """A page, and what it answers where nobody stands between.

    Raises: ConfigError — it is no address of plain HTTP: TLS cannot be answered by a portal.
    """

    url: str
    status: int | None = None
    """None: whatever it answers, only what a portal says is looked for."""
    body: str = ""
    """With which its text begins."""

    def __attrs_post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            fits = parts.scheme == _PLAIN and bool(parts.hostname) and parts.port != 0
        except ValueError:
            fits = False
        if not (fits and self.url.isascii() and self.url.isprintable()):
            raise ConfigError(f"{self.url[:80]!r}: a check for portals is an address that begins with http://")


WELL_KNOWN: Final = (
    PortalCheck(url="http://detectportal.firefox.com/success.txt", status=200, body="success"),
    PortalCheck(url="http://connectivitycheck.gstatic.com/generate_204", status=204),
)
"""Those of Mozilla and of Google, for who allows that they are asked: they see this machine's address, and when."""


@attrs.frozen(kw_only=True)
class Portal:
    """Somebody answers in the place of others."""

    url: str
    """Where it wants to be logged in to; empty if it does not say."""


def check_of_node(host: str) -> PortalCheck:
    """Return the request that a node's host is asked with."""
    return PortalCheck(url=f"http://[{host}]/" if ":" in host else f"http://{host}/")


async def find_portal(
    checks: Sequence[PortalCheck], *, protect: Protect | None = None, resolve: Resolve = resolve_by_system
) -> Portal | None:
    """Ask all of them at once, outside the tunnel; return the first portal that shows, or None. Takes 4 s at most."""
    found: list[Portal] = []

    async def ask(check: PortalCheck) -> None:
        portal = await _ask(check, protect, resolve)
        if portal is not None:
            found.append(portal)
            nursery.cancel_scope.cancel()

    with trio.move_on_after(PROBE_TIMEOUT):
        async with trio.open_nursery() as nursery:
            for check in checks[:MAX_PROBES]:
                nursery.start_soon(ask, check)
    return found[0] if found else None


async def _ask(check: PortalCheck, protect: Protect | None, resolve: Resolve) -> Portal | None:
    try:
        return judge(check, *await _fetch(check.url, protect, resolve))
    except (OSError, ValueError, trio.BrokenResourceError, h11.ProtocolError):
        # Nobody answers, or not in HTTP, or with an address that is none: that is no portal.
        return None


def judge(check: PortalCheck, status: int, location: str, body: bytes) -> Portal | None:
    """Return the portal that an answer comes from; None if it may well come from whom it should."""
    target = urljoin(check.url, location) if location else ""
    shown = target if target.isprintable() and len(target) <= MAX_URL else ""
    if status == NETWORK_AUTHENTICATION_REQUIRED:
        return Portal(url=shown)
    if status in _REDIRECTIONS and urlsplit(target).hostname not in (None, urlsplit(check.url).hostname):
        return Portal(url=shown)
    if check.status is not None and (status != check.status or not body.startswith(check.body.encode())):
        return Portal(url=shown or check.url)
    return None


async def _fetch(url: str, protect: Protect | None, resolve: Resolve) -> tuple[int, str, bytes]:
    """Return status, Location and the beginning of the body. Raises: OSError, BrokenResourceError, ProtocolError."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or HTTP_PORT
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_ANSWER)
    # What browsers send least; a name of ours would tell whose device this is.
    request = h11.Request(method="GET", target=path, headers=[("Host", parts.netloc), ("Connection", "close")])
    async with await open_tcp(host, port, protect=protect, resolve=resolve) as stream:
        await stream.send_all((http.send(request) or b"") + (http.send(h11.EndOfMessage()) or b""))
        return await _read_answer(stream, http)


async def _read_answer(stream: trio.SocketStream, http: h11.Connection) -> tuple[int, str, bytes]:
    status, location, body = 0, "", b""
    while len(body) < MAX_ANSWER:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await stream.receive_some(MAX_ANSWER))
        elif isinstance(event, h11.Response):
            status = event.status_code
            location = next((v.decode("latin-1") for k, v in event.headers if k == b"location"), "")
        elif isinstance(event, h11.Data):
            body += event.data
        elif not isinstance(event, h11.InformationalResponse):
            break
    return status, location, body
