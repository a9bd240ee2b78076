"""Settings over HTTP: a list of all there are, each set or reset by name."""

from __future__ import annotations

from typing import Any

import msgspec
from quart import Blueprint, Response
from quart_schema import document_headers, document_request, tag

from pharos.helm.context import HelmContext
from pharos.helm.model.admins import Role
from pharos.helm.model.settings import SET_BY_OWNERS
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.settings import SETTINGS, all_settings, put_setting, reset_setting
from pharos.helm.web.acting import Answer, acting, reading
from pharos.helm.web.oidc import check_proof
from pharos.helm.web.requests import read_body, seen_version
from pharos.helm.web.resources import API, Versioned


class SettingBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A setting's new value."""

    value: bool | int | str | list[str]


def make_settings_blueprint(context: HelmContext) -> Blueprint:
    """Serve the settings."""
    blueprint = Blueprint("settings", __name__, url_prefix=f"{API}/settings")

    @blueprint.get("")
    @tag(["settings"])
    async def list_() -> Response:
        """List the settings"""
        return await reading(context, Role.VIEWER, lambda db: Answer(body={"items": all_settings(db)}))

    @blueprint.put("/<name>")
    @tag(["settings"])
    @document_request(SettingBody)
    @document_headers(Versioned)
    async def put(name: str) -> Response:
        """Set a setting"""
        version = seen_version(least=0)
        body: Any = await read_body(SettingBody)
        if name in SET_BY_OWNERS:
            check_proof()

        def write(db: Database, act: Act) -> Answer:
            setting = put_setting(db, act, name, version, body.value)
            return Answer(body=SETTINGS.view(setting), version=setting.version)

        return await acting(context, needed_for(name), write)

    @blueprint.delete("/<name>")
    @tag(["settings"])
    @document_headers(Versioned)
    async def reset(name: str) -> Response:
        """Let the default hold again"""
        version = seen_version()
        if name in SET_BY_OWNERS:
            check_proof()

        def write(db: Database, act: Act) -> Answer:
            reset_setting(db, act, name, version)
            return Answer(body=None, status=204)

        return await acting(context, needed_for(name), write)

    return blueprint


def needed_for(name: str) -> Role:
    """Return the role that setting it takes."""
    return Role.OWNER if name in SET_BY_OWNERS else Role.ADMIN
