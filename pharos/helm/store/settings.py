"""The settings table: what somebody has set; what nobody has set has its posture's default."""

from __future__ import annotations

from typing import Any, Final

from pharos.helm.errors import InvalidRequestError, NotFoundError, StaleVersionError
from pharos.helm.model.settings import HEARD_BY_DEVICES, HEARD_BY_NODES, KNOWN, Setting
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_fleet, next_revision
from pharos.helm.store.records import Noun, add_record, change_record, find_record, remove_record

SETTINGS: Final = Noun(
    kind="setting",
    table="settings",
    columns=("id", "value"),
    model=Setting,
    documents=frozenset({"value"}),
    sorts={"created_at": "created_at"},
)


def setting(db: Database, name: str) -> Any:
    """Return the value that holds: what was set, or the posture's default."""
    found = find_record(db, SETTINGS, name)
    return KNOWN[name].default(get_fleet(db).posture) if found is None else found.value


def all_settings(db: Database) -> list[dict[str, Any]]:
    """Return every setting as views show it; version 0 is one that nobody has set."""
    posture = get_fleet(db).posture
    shown = []
    for name, known in sorted(KNOWN.items()):
        found = find_record(db, SETTINGS, name)
        default = known.default(posture)
        view = {"id": name, "value": default, "version": 0, "updated_at": None, "updated_by": None}
        if found is not None:
            view |= SETTINGS.view(found)
        shown.append(view | {"default": default, "says": known.says, "wants": known.wants})
    return shown


def put_setting(db: Database, act: Act, name: str, version: int, value: Any) -> Setting:
    """Set a setting that was seen at ``version``, 0 if nobody had set it.

    Raises: NotFoundError — there is none of this name. InvalidRequestError — the value does not fit. StaleVersionError.
    """
    known = KNOWN.get(name)
    if known is None:
        raise NotFoundError(f"there is no setting {name!r}; there are {', '.join(sorted(KNOWN))}")
    if not known.check(value):
        raise InvalidRequestError(f"{name} has to be {known.wants}")
    found = find_record(db, SETTINGS, name)
    if found is None:
        if version != 0:
            raise StaleVersionError("setting", current=_unset(db, name), seen=version)
        _tell(db, name)
        return add_record(db, SETTINGS, Setting(id=name, value=value), act, verb="set", detail=f"{name} = {value}")
    changed = change_record(db, SETTINGS, name, version, {"value": value}, act, verb="set", detail=f"{name} = {value}")
    if changed != found:
        _tell(db, name)
    return changed


def reset_setting(db: Database, act: Act, name: str, version: int) -> None:
    """Let the default hold again. Raises: NotFoundError — nobody has set it. StaleVersionError."""
    remove_record(db, SETTINGS, name, version, act, verb="reset", detail=name)
    _tell(db, name)


def _tell(db: Database, name: str) -> None:
    """Count a change that nodes, or nodes and devices, must hear of."""
    if name in HEARD_BY_NODES:
        next_revision(db, profiles=name in HEARD_BY_DEVICES)


def _unset(db: Database, name: str) -> dict[str, Any]:
    return next(view for view in all_settings(db) if view["id"] == name) | {
        "updated_by": "nobody",
        "updated_at": "any time",
    }
