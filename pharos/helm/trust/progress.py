"""How far an exchange of the fleet's keys is: who was asked for what, who has done it, and what comes next."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from pharos.helm.store.database import Database
from pharos.helm.store.rotations import StoredRotation, active_rotation, list_rotations
from pharos.helm.trust.overview import name_of
from pharos.wire.pki.roles import Identity, Role
from pharos.wire.pki.rotation import State, awaited_roles

Json = dict[str, Any]

MOST_NAMES: Final = 100
"""Of each role, of those who have done it and of those who have not: more are a number."""
MOST_EARLIER: Final = 10

_NEXT: Final = {
    State.PREPARED: "helm tells everybody of the new keys",
    State.DISTRIBUTING: "helm uses the new keys once everybody believes them beside the old ones",
    State.SWITCHING: "the old keys are dropped once everybody uses the new ones",
    State.DROPPING: "it is done once everybody has dropped the old keys",
}


def rotation_view(db: Database) -> Json:
    """Return the rotation that is under way, None where there is none, and the last ones before it."""
    current = active_rotation(db)
    earlier = [one for one in reversed(list_rotations(db)) if one.rotation.state is State.DONE]
    return {
        "rotation": None if current is None else _progress(db, current),
        "earlier": [_told(one) for one in earlier[:MOST_EARLIER]],
    }


def _told(stored: StoredRotation) -> Json:
    return {
        "id": stored.id,
        "subjects": sorted(subject.value for subject in stored.rotation.subjects),
        "phase": stored.rotation.state.value,
        **{name: stored.view()[name] for name in ("created_at", "updated_at")},
    }


def _progress(db: Database, stored: StoredRotation) -> Json:
    rotation = stored.rotation
    roles = {role for subject in rotation.subjects for role in awaited_roles(subject, rotation.state)}
    return _told(stored) | {
        "asked": None if rotation.asked is None else rotation.asked.value,
        "next": _NEXT[rotation.state],
        "members": len(rotation.members),
        "waiting": len(rotation.waiting),
        "roles": {
            role.value: {
                "acknowledged": _some(db, [one for one in members if one not in rotation.waiting]),
                "waiting": _some(db, [one for one in members if one in rotation.waiting]),
            }
            for role, members in _by_role(rotation.members, roles).items()
        },
    }


def _by_role(members: Collection[Identity], roles: Collection[Role]) -> dict[Role, list[Identity]]:
    found: dict[Role, list[Identity]] = {role: [] for role in Role if role in roles}
    for member in sorted(members, key=str):
        if member.role in found:
            found[member.role].append(member)
    return found


def _some(db: Database, members: list[Identity]) -> Json:
    names = [{"id": one.id, "name": name_of(db, one)} for one in members[:MOST_NAMES]]
    return {"count": len(members), "items": names}
