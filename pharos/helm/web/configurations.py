"""What a browser makes the files of an exported device of (docs/guide/exported.md); no secret is in it.

GET /api/v1/devices/{id}/configuration
"""

from __future__ import annotations

import functools
from typing import Any

import msgspec
from quart import Blueprint, Response
from quart_schema import document_response, tag

from pharos.helm.context import HelmContext
from pharos.helm.errors import ConflictError
from pharos.helm.model.admins import Role
from pharos.helm.model.devices import DeviceState
from pharos.helm.profiles.configuration import configuration_of
from pharos.helm.profiles.record import read_record_for
from pharos.helm.store.bundles import profiles_revision
from pharos.helm.store.database import Database
from pharos.helm.store.devices import get_device
from pharos.helm.store.pools import list_pools
from pharos.helm.store.times import rfc3339
from pharos.helm.web.acting import Answer, reading
from pharos.helm.web.resources import API, Problem
from pharos.wire.ids import DeviceId


class ConfigurationView(msgspec.Struct, kw_only=True):
    """What files are made of: facts that are no secret."""

    device: str
    name: str
    fleet: str
    revision: int
    """Of profiles: what is told is as of it."""
    outdated_at: str | None
    """Since when what was exported is otherwise than this; null: it is not."""
    keys: dict[str, str]
    """Its public keys that secrets are derived of, by use, hexadecimal."""
    addresses: list[str]
    address4: str
    address6: str
    resolvers: list[str]
    dns: list[str]
    """Whom a file names: the resolvers, or a node itself where there are none."""
    allowed_ips: list[str]
    nodes: list[dict[str, Any]]


def make_configurations_blueprint(context: HelmContext) -> Blueprint:
    """Serve configurations of exported devices."""
    blueprint = Blueprint("configurations", __name__, url_prefix=f"{API}/devices")

    @blueprint.get("/<device_id>/configuration")
    @document_response(ConfigurationView, 200)
    @document_response(Problem, 404)
    @document_response(Problem, 409)
    @tag(["devices"])
    async def show(device_id: str) -> Response:
        """Show what the files of an exported device are made of"""
        return await reading(context, Role.OPERATOR, functools.partial(_show, device_id=DeviceId(device_id)))

    return blueprint


def _show(db: Database, device_id: DeviceId) -> Answer:
    device = get_device(db, device_id)
    if not device.exported:
        raise ConflictError("this device has its profile from helm itself; only exported devices have a configuration")
    if device.state is DeviceState.REVOKED:
        raise ConflictError("a device that is revoked has no configuration")
    pools = tuple(network for pool in list_pools(db) for network in (pool.network4, pool.network6))
    record, revision = read_record_for(db, device_id), profiles_revision(db)
    body = configuration_of(record, device, pools=pools, revision=revision)
    outdated_at = None if device.outdated_at is None else rfc3339(device.outdated_at)
    return Answer(body=body | {"outdated_at": outdated_at})
