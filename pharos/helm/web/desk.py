"""The desk from elsewhere, the application's half: over an admin's device only that admin acts, in its own sessions.

A device stands where a browser's certificate does (`pharos.helm.web.tls.know_browsers`): sessions that begin over its
passage are bound to it. Which devices get here at all is the other half (`pharos.helm.relay.adminweb`).
"""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie

from quart import Response, g, request, websocket
from quart_trio import QuartTrio

from pharos.helm.context import HelmContext
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Principal
from pharos.helm.model.desk import AdminDevice, desk_of
from pharos.helm.store.database import Database
from pharos.helm.store.signins import end_session, find_session, hash_secret
from pharos.helm.web.problems import problem
from pharos.helm.web.session import COOKIE, Signed

OTHERS = "this device is another admin's; use your own, or helm's own machine"


def keep_to_owner(app: QuartTrio, context: HelmContext) -> None:
    """Refuse, over an admin's device, everybody who is not that admin. To be called after `recognise_callers`."""

    @app.before_request
    async def check_request() -> Response | None:
        return _verdict(desk_of(request.scope))

    @app.before_websocket
    async def check_websocket() -> Response | None:
        return _verdict(desk_of(websocket.scope))

    @app.after_request
    async def check_sign_in(response: Response) -> Response:
        desk, cookie = desk_of(request.scope), _new_cookie(response)
        if desk is None or not cookie:
            return response

        def is_owners(db: Database) -> bool:
            found = find_session(db, hash_secret(cookie), at=now_us())
            if found is None or found[1].id == desk.admin_id:
                return True
            end_session(db, hash_secret(cookie))
            return False

        return response if await context.store.run(is_owners) else problem(403, OTHERS)


def _verdict(desk: AdminDevice | None) -> Response | None:
    who: Principal | None = g.get("principal")
    if desk is None or who is None:
        return None
    if who.admin_id != desk.admin_id:
        return problem(403, OTHERS)
    signed: Signed | None = g.get("signed")
    # One of another device has been ended by whoever recognised it; this one began on helm's own machine.
    if signed is not None and signed.session.bound != desk.bound:
        return problem(401, "this session began elsewhere; sign in here")
    return None


def _new_cookie(response: Response) -> str:
    """Return the session's cookie where an answer sets one, as every way of signing in does."""
    for header in response.headers.getlist("Set-Cookie"):
        try:
            jar = SimpleCookie(header)
        except CookieError:
            continue
        if COOKIE in jar and jar[COOKIE].value:
            return jar[COOKIE].value
    return ""
