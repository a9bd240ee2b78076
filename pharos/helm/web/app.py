"""The two faces of one web application, and the server under them."""

from __future__ import annotations

import functools
import logging
import os
import socket
from collections.abc import Collection
from pathlib import Path
from typing import Final

import trio
from hypercorn.config import Config
from quart import g
from quart_schema import Info, QuartSchema
from quart_trio import QuartTrio

import pharos
from pharos.helm.config import SOCKET_NAME, HelmConfig
from pharos.helm.context import HelmContext
from pharos.helm.model.admins import OPERATOR
from pharos.helm.web.alerttargets import make_alert_targets_blueprint
from pharos.helm.web.backups import make_backups_blueprint
from pharos.helm.web.browsers import make_browsers_blueprint
from pharos.helm.web.ca import make_ca_blueprint
from pharos.helm.web.charts import make_charts_blueprint
from pharos.helm.web.configurations import make_configurations_blueprint
from pharos.helm.web.control import make_control_blueprint
from pharos.helm.web.describe import Provider
from pharos.helm.web.desk import keep_to_owner
from pharos.helm.web.events import make_events_blueprint
from pharos.helm.web.export import make_export_blueprint
from pharos.helm.web.guard import guard_loopback
from pharos.helm.web.health import make_health_blueprint
from pharos.helm.web.imports import make_imports_blueprint
from pharos.helm.web.live import make_live_blueprint
from pharos.helm.web.localname import prefer_name
from pharos.helm.web.lock import make_lock_blueprint
from pharos.helm.web.logins import make_logins_blueprint
from pharos.helm.web.metrics import make_metrics_blueprint
from pharos.helm.web.nouns import RESOURCES
from pharos.helm.web.nouns.audit import make_audit_blueprint
from pharos.helm.web.nouns.sessions import make_sessions_blueprint
from pharos.helm.web.oidc import make_oidc_blueprint, make_oidc_signin_blueprint
from pharos.helm.web.onboard import make_onboard_blueprint
from pharos.helm.web.passkeys import make_passkeys_blueprint
from pharos.helm.web.permissions import check_permissions, permissions
from pharos.helm.web.policy import make_policy_blueprint
from pharos.helm.web.problems import handle_errors
from pharos.helm.web.reseal import make_reseal_blueprint
from pharos.helm.web.resources import API, make_resource_blueprint
from pharos.helm.web.routes import MatchingRule
from pharos.helm.web.search import make_search_blueprint
from pharos.helm.web.seeing import make_seeing_blueprint
from pharos.helm.web.server import serve
from pharos.helm.web.session import make_session_blueprint, recognise_callers
from pharos.helm.web.settings import make_settings_blueprint
from pharos.helm.web.signins import make_signins_blueprint
from pharos.helm.web.sinks import make_sinks_blueprint
from pharos.helm.web.spa import make_spa_blueprint
from pharos.helm.web.status import make_status_blueprint
from pharos.helm.web.targets import make_targets_blueprint
from pharos.helm.web.tls import Gate, know_browsers, serve_browsers
from pharos.helm.web.upgrades import make_upgrades_blueprint
from pharos.helm.web.views.routes import make_views_blueprint
from pharos.wire.errors import StateFileError
from pharos.wire.listen import naming_address
from pharos.wire.units import KIB, SECONDS

# The largest body is an agent's request, some 2 kB of JSON.
MAX_BODY: Final = 256 * KIB
# What comes in over a WebSocket is one word; the limit is that of security.md row 42.
MAX_MESSAGE: Final = 64 * KIB
# What watches idle connections between us and a browser, such as a forwarded port, often waits for a minute.
PING_INTERVAL: Final = 20 * SECONDS
# sun_path has 108 bytes on Linux and 104 on macOS, its closing zero included.
MAX_SOCKET_PATH: Final = 103


def make_operator_app(context: HelmContext) -> QuartTrio:
    """Return what the operator's commands speak to, over the Unix socket."""
    app = _make_app(context)

    @app.before_request
    @app.before_websocket
    async def recognise() -> None:
        # Whoever can open the socket could as well read the database (docs/adr/0015).
        g.principal = OPERATOR

    check_permissions(app, permissions(RESOURCES))
    return app


def make_loopback_app(context: HelmContext, hosts: Collection[str], *, tls: bool = False) -> QuartTrio:
    """Return what browsers on this machine see, once somebody has signed in: the page, and all that it shows.

    ``tls``: it is served by TLS, to browsers with a certificate.
    """
    app = _make_app(context)
    app.config["PHAROS_TLS"] = tls
    scheme = "https" if tls else "http"
    guard_loopback(app, hosts, scheme=scheme)
    prefer_name(app, hosts, scheme=scheme)
    know_browsers(app, required=tls)
    recognise_callers(app, context)
    keep_to_owner(app, context)
    app.register_blueprint(make_session_blueprint(context))
    app.register_blueprint(make_oidc_signin_blueprint(context))
    app.register_blueprint(make_passkeys_blueprint(context, [f"{scheme}://{host}" for host in hosts]))
    app.register_blueprint(make_spa_blueprint())
    check_permissions(app, permissions(RESOURCES))
    return app


def desk_app(page: QuartTrio, context: HelmContext, config: HelmConfig) -> QuartTrio:
    """Return what admins elsewhere see over their devices' passages: the same page, plain on their own loopback."""
    return make_loopback_app(context, {config.desk_host}) if config.web_tls else page


async def serve_operator(
    app: QuartTrio, state: Path, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve the operator's Unix socket, mode 0600 in a directory of mode 0700."""
    path = state / SOCKET_NAME
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise StateFileError(f"{path} is too long for a Unix socket; choose a --state directory with a shorter path")
    # The process lock is ours, so a socket that is there is a dead helm's.
    path.unlink(missing_ok=True)
    config = _config(f"unix:{path}")
    config.umask = 0o177
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve, app, config)
            task_status.started()
    finally:
        path.unlink(missing_ok=True)


async def serve_loopback(
    app: QuartTrio, host: str, port: int, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve browsers on one loopback address."""
    with naming_address(host, port, "TCP"):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family)
    # The server takes the descriptor over, and closes it.
    config = _config(f"fd://{listener.detach()}")
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, app, config)
        task_status.started()


async def serve_page(
    app: QuartTrio,
    context: HelmContext,
    config: HelmConfig,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve browsers as the configuration says: plain, or by TLS to those with a certificate."""
    if config.web_tls:
        gate = Gate(context.store, context.authorities, context.vault)
        serving = functools.partial(serve_browsers, app, _config("localhost"), gate, config.web_host, config.web_port)
    else:
        serving = functools.partial(serve_loopback, app, config.web_host, config.web_port)
    await serving(task_status=task_status)


def _make_app(context: HelmContext) -> QuartTrio:
    app = QuartTrio(__name__, static_folder=None)
    app.url_rule_class = MatchingRule
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    handle_errors(app)
    app.register_blueprint(make_status_blueprint(context))
    app.register_blueprint(make_live_blueprint(context, RESOURCES))
    for resource in RESOURCES:
        app.register_blueprint(make_resource_blueprint(context, resource))
    app.register_blueprint(make_configurations_blueprint(context))
    app.register_blueprint(make_signins_blueprint(context))
    app.register_blueprint(make_logins_blueprint(context))
    app.register_blueprint(make_settings_blueprint(context))
    app.register_blueprint(make_oidc_blueprint(context))
    app.register_blueprint(make_lock_blueprint(context))
    app.register_blueprint(make_reseal_blueprint(context))
    app.register_blueprint(make_targets_blueprint(context))
    app.register_blueprint(make_control_blueprint(context))
    app.register_blueprint(make_policy_blueprint(context))
    app.register_blueprint(make_seeing_blueprint(context))
    app.register_blueprint(make_onboard_blueprint(context))
    app.register_blueprint(make_audit_blueprint(context))
    app.register_blueprint(make_backups_blueprint(context))
    app.register_blueprint(make_alert_targets_blueprint(context))
    app.register_blueprint(make_health_blueprint(context))
    app.register_blueprint(make_browsers_blueprint(context))
    app.register_blueprint(make_ca_blueprint(context))
    app.register_blueprint(make_sessions_blueprint(context))
    app.register_blueprint(make_events_blueprint(context))
    app.register_blueprint(make_sinks_blueprint(context))
    app.register_blueprint(make_export_blueprint(context))
    app.register_blueprint(make_imports_blueprint(context))
    app.register_blueprint(make_charts_blueprint(context))
    app.register_blueprint(make_metrics_blueprint(context))
    app.register_blueprint(make_upgrades_blueprint(context))
    app.register_blueprint(make_views_blueprint(context))
    app.register_blueprint(make_search_blueprint(context, RESOURCES))
    QuartSchema(
        app,
        info=Info(title="Pharos", version=pharos.__version__),
        openapi_path=f"{API}/openapi.json",
        # Their pages would come from other people's servers.
        swagger_ui_path=None,
        redoc_ui_path=None,
        scalar_ui_path=None,
        conversion_preference="msgspec",
        openapi_provider_class=Provider,
    )
    return app


def _config(bind: str) -> Config:
    config = Config()
    config.bind = [bind]
    config.accesslog = None
    # Through our own handlers, which leave out the line in which it repeats where it listens.
    config.errorlog = logging.getLogger("hypercorn.error")
    config.include_server_header = False
    config.h11_max_incomplete_size = 16 * KIB
    config.websocket_max_message_size = MAX_MESSAGE
    config.websocket_ping_interval = PING_INTERVAL
    return config
