"""Where alerts are delivered to: added, changed and removed by an admin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from pharos.helm.alerts.kinds import check_kind
from pharos.helm.ca.vault import Vault
from pharos.helm.errors import ConflictError, InvalidRequestError
from pharos.helm.model.alerts import AlertTarget, Severity
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.deliveries import ALERT_TARGETS
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.records import add_record, change_record, get_record, remove_record

# Each may keep a thread busy.
MAX_TARGETS: Final = 32
MAX_NAME: Final = 64
MAX_KINDS: Final = 32
_VERSION: Final = 1


@attrs.frozen(kw_only=True)
class Place:
    """A URL that was looked at, and is one of a service (`pharos.helm.alerts.send.service_of`)."""

    url: str = attrs.field(repr=False)
    service: str


def add_target(db: Database, act: Act, vault: Vault, place: Place, values: Mapping[str, Any]) -> AlertTarget:
    """Write a new target.

    Raises: InvalidRequestError — a value does not fit. ConflictError — the name is taken, or there are too many.
    """
    if db.execute("SELECT COUNT(*) FROM alert_targets").fetchone()[0] >= MAX_TARGETS:
        raise ConflictError(f"there are {MAX_TARGETS} targets already; remove one first")
    target_id = fresh_id()
    target = AlertTarget(
        id=target_id, service=place.service, url=_wrap(vault, target_id, place.url), **_checked(values)
    )
    return add_record(db, ALERT_TARGETS, target, act, detail=f"{target.name} ({target.service})")


def change_target(db: Database, act: Act, target_id: str, version: int, values: Mapping[str, Any]) -> AlertTarget:
    """Change what a target is called and what it hears of.

    Raises: InvalidRequestError, ConflictError, StaleVersionError, NotFoundError.
    """
    target = get_record(db, ALERT_TARGETS, target_id)
    detail = ", ".join(sorted(values))
    return change_record(
        db, ALERT_TARGETS, target_id, version, _checked(values), act, detail=f"{target.name}: {detail}"
    )


def move_target(db: Database, act: Act, vault: Vault, target_id: str, version: int, place: Place) -> AlertTarget:
    """Let a target be at another URL. Raises: StaleVersionError, NotFoundError."""
    target = get_record(db, ALERT_TARGETS, target_id)
    changes = {"service": place.service, "url": _wrap(vault, target_id, place.url)}
    return change_record(db, ALERT_TARGETS, target_id, version, changes, act, verb="moved", detail=target.name)


def remove_target(db: Database, act: Act, target_id: str, version: int) -> None:
    """Remove a target, with what waits for it. Raises: StaleVersionError, NotFoundError."""
    target = get_record(db, ALERT_TARGETS, target_id)
    remove_record(db, ALERT_TARGETS, target_id, version, act, detail=target.name)


def open_url(vault: Vault, target: AlertTarget) -> str:
    """Return a target's URL, which is a secret. Raises: StateFileError — it does not open."""
    return vault.unwrap(_name(target.id), _VERSION, target.url).decode()


def _wrap(vault: Vault, target_id: str, url: str) -> bytes:
    return vault.wrap(_name(target_id), _VERSION, url.encode())


def _name(target_id: str) -> str:
    return f"alert-target/{target_id}"


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    checked = dict(values)
    if "name" in checked:
        name = checked["name"] = checked["name"].strip()
        if not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise InvalidRequestError(f"a name has 1 to {MAX_NAME} characters")
    if "minimum" in checked:
        try:
            checked["minimum"] = Severity(checked["minimum"])
        except ValueError as error:
            raise InvalidRequestError(f"'minimum' is one of {', '.join(one.value for one in Severity)}") from error
    if "kinds" in checked:
        kinds = checked["kinds"] = tuple(dict.fromkeys(checked["kinds"]))
        if len(kinds) > MAX_KINDS:
            raise InvalidRequestError(f"a target lists at most {MAX_KINDS} kinds")
        for kind in kinds:
            check_kind(kind)
    return checked
