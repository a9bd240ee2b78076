"""Route × role: what each route takes. A route that is not here is refused, and a test says so (security.md row 54).

The role of a noun's routes stands in its `Resource`; what stands here are the routes that are no noun's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from quart import Response, g, request, websocket
from quart_trio import QuartTrio

from pharos.helm.model.admins import Principal, Role
from pharos.helm.web.problems import problem
from pharos.helm.web.resources import Resource

PUBLIC: Final = None
"""Served to whoever passes the guard of Host and Origin."""

OTHERS: Final[dict[str, Role | None]] = {
    "GET spa.spa": PUBLIC,
    "POST session.sign_in": PUBLIC,
    # Nothing of it says who there is, or by what they may come in.
    "GET session.door_sign": PUBLIC,
    # Each of these says 401 itself to whoever has no session: it is about one's own.
    "GET session.show": PUBLIC,
    "DELETE session.sign_out": PUBLIC,
    "POST session.prove": PUBLIC,
    "PUT session.password": PUBLIC,
    "GET session.totp_secret": PUBLIC,
    "PUT session.totp": PUBLIC,
    "GET session.mine": PUBLIC,
    "DELETE session.end_mine": PUBLIC,
    "GET passkeys.list_": PUBLIC,
    "POST passkeys.begin": PUBLIC,
    "POST passkeys.add": PUBLIC,
    "PATCH passkeys.change": PUBLIC,
    "DELETE passkeys.remove": PUBLIC,
    "POST passkeys.begin_sign_in": PUBLIC,
    "POST passkeys.sign_in": PUBLIC,
    "POST passkeys.begin_proof": PUBLIC,
    "POST passkeys.prove": PUBLIC,
    "GET signins.list_": Role.OWNER,
    "DELETE signins.end": Role.OWNER,
    "GET signins.passkeys": Role.OWNER,
    "DELETE signins.remove_passkey": Role.OWNER,
    "GET oidc_session.begin": PUBLIC,
    "GET oidc_session.callback": PUBLIC,
    "GET oidc.show": Role.ADMIN,
    "POST oidc.test": Role.ADMIN,
    "PUT oidc.secret": Role.OWNER,
    "DELETE oidc.forget": Role.OWNER,
    "POST logins.passphrase": Role.OPERATOR,
    "DELETE logins.forget": Role.OPERATOR,
    "GET logins.show": Role.OPERATOR,
    "POST logins.confirm": Role.OPERATOR,
    "GET logins.link": Role.VIEWER,
    "GET configurations.show": Role.OPERATOR,
    "GET openapi": Role.VIEWER,
    "GET settings.list_": Role.VIEWER,
    "PUT settings.put": Role.ADMIN,
    "DELETE settings.reset": Role.ADMIN,
    "GET backups.show": Role.VIEWER,
    "GET health.show": Role.VIEWER,
    "POST backups.note": Role.ADMIN,
    "GET lock.show": Role.VIEWER,
    "PUT lock.begin": Role.OWNER,
    "POST lock.sign": Role.ADMIN,
    "POST reseal.reseal": Role.OPERATOR,
    "POST targets.check": Role.ADMIN,
    "GET policy.get": Role.VIEWER,
    "POST policy.preview": Role.VIEWER,
    "POST control.restart": Role.OPERATOR,
    "POST control.log_level": Role.ADMIN,
    "POST seeing.node": Role.OPERATOR,
    "POST seeing.relay": Role.OPERATOR,
    "POST onboard.begin": Role.ADMIN,
    "GET onboard.events": Role.ADMIN,
    "POST onboard.confirm": Role.ADMIN,
    "POST onboard.answer": Role.ADMIN,
    "POST onboard.stop": Role.ADMIN,
    "POST onboard.undo": Role.ADMIN,
    "GET onboard.ssh_key": Role.ADMIN,
    "GET export.show": Role.OWNER,
    "POST imports.users": Role.OPERATOR,
    "GET sinkwatch.health": Role.ADMIN,
    "POST sinkwatch.test": Role.ADMIN,
    "GET audit.list": Role.ADMIN,
    "GET audit.show": Role.ADMIN,
    "GET audit.export": Role.ADMIN,
    "GET audit.verify": Role.VIEWER,
    "GET sessions.list": Role.VIEWER,
    "GET sessions.get": Role.VIEWER,
    "POST sessions.end": Role.OPERATOR,
    "GET events.list": Role.VIEWER,
    "GET charts.chart": Role.VIEWER,
    "GET metrics.metrics": Role.VIEWER,
    "GET status.status": Role.VIEWER,
    "POST browsers.issue": Role.OWNER,
    "GET browsers.list_": Role.ADMIN,
    "DELETE browsers.remove": Role.OWNER,
    "GET live.live": Role.VIEWER,
    "GET views.devices": Role.VIEWER,
    "GET views.devices_rows": Role.VIEWER,
    "GET views.users": Role.VIEWER,
    "GET views.users_rows": Role.VIEWER,
    "GET views.sessions": Role.VIEWER,
    "GET views.sessions_rows": Role.VIEWER,
    "GET views.profiles": Role.VIEWER,
    "GET views.profiles_rows": Role.VIEWER,
    "GET search.search": Role.VIEWER,
    "GET ca.show": Role.VIEWER,
    "GET ca.rotation": Role.VIEWER,
    "POST ca.rotate": Role.OWNER,
    "POST alert_posts.add": Role.ADMIN,
    "POST alert_posts.move": Role.ADMIN,
    "POST alert_posts.test": Role.ADMIN,
    "POST upgrades.begin": Role.ADMIN,
    "GET upgrades.list_": Role.ADMIN,
    "GET upgrades.show": Role.ADMIN,
    "POST upgrades.stop": Role.ADMIN,
    "GET upgrades.node": Role.ADMIN,
    "GET upgrades.relay": Role.ADMIN,
}


def check_permissions(app: QuartTrio, table: Mapping[str, Role | None]) -> None:
    """Refuse whoever may not use a route, and every route that the table does not know.

    A first look, before a body is read. The transaction looks again, for roles may change meanwhile.
    """

    @app.before_request
    async def check_request() -> Response | None:
        return _verdict(request.method, request.endpoint)

    @app.before_websocket
    async def check_websocket() -> Response | None:
        return _verdict("GET", websocket.endpoint)

    def _verdict(method: str, endpoint: str | None) -> Response | None:
        if endpoint is None:
            # No route, or none for this method: the router's own 404 or 405.
            return None
        key = f"{'GET' if method == 'HEAD' else method} {endpoint}"
        if key not in table:
            return problem(403, "nobody may do this here")
        needed = table[key]
        if needed is None:
            return None
        who: Principal | None = g.get("principal")
        if who is None:
            return problem(401, "sign in first: helm admins link prints a one-time link")
        if not who.role.includes(needed):
            return problem(403, f"this takes the role {needed.value}, and {who.name} is {who.role.value}")
        return None


def permissions(resources: tuple[Resource[Any], ...]) -> dict[str, Role | None]:
    """Return what every route takes, by method and endpoint."""
    table = dict(OTHERS)
    for resource in resources:
        noun = resource.noun.table
        table[f"GET {noun}.list"] = table[f"GET {noun}.get"] = resource.reads
        for method, name in (("POST", "add"), ("PATCH", "change"), ("DELETE", "remove")):
            if getattr(resource, name) is not None:
                table[f"{method} {noun}.{name}"] = resource.writes
        for name, item_act in resource.acts.items():
            table[f"POST {noun}.{name}"] = item_act.role
    return table
