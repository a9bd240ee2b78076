"""Whether both databases can be written, as the running helm knows it.

GET /api/v1/health   {"core": {"health":…, "reason":…, "since":…}, "telemetry": …}
"""

from __future__ import annotations

from typing import Any

from quart import Blueprint, Response
from quart_schema import tag

from pharos.helm.context import HelmContext
from pharos.helm.model.admins import Role
from pharos.helm.store.condition import State
from pharos.helm.store.times import rfc3339
from pharos.helm.web.acting import Answer, reading
from pharos.helm.web.resources import API


def make_health_blueprint(context: HelmContext) -> Blueprint:
    """Serve the condition of the store."""
    blueprint = Blueprint("health", __name__, url_prefix=f"{API}/health")

    @blueprint.get("")
    @tag(["health"])
    async def show() -> Response:
        """Show whether the databases can be written"""
        files = {"core": context.store.core, "telemetry": context.store.telemetry}
        body = {name: _view(file.condition.state) for name, file in files.items()}
        return await reading(context, Role.VIEWER, lambda _db: Answer(body=body))

    return blueprint


def _view(state: State) -> dict[str, Any]:
    return {"health": state.health.value, "reason": state.reason or None, "since": rfc3339(state.since)}
