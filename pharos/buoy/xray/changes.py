"""What has to be said to an Xray so that its users are those of a plan. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from pharos.buoy.dataplane.base import RealityUser
from pharos.buoy.xray.model import spell_user_id
from pharos.wire.ids import DeviceId


@attrs.frozen
class Change:
    """Users to remove, and then users to add; one whose id changed is among both."""

    remove: tuple[DeviceId, ...] = ()
    add: tuple[RealityUser, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.remove or self.add)


def changes_between(before: Mapping[DeviceId, RealityUser], now: Mapping[DeviceId, RealityUser]) -> Change:
    """Return what makes one plan's users another's; who is the same object is not looked into."""
    remove = [device_id for device_id in before if device_id not in now]
    add = []
    for device_id, user in now.items():
        old = before.get(device_id)
        if old is None:
            add.append(user)
        elif old is not user and old.user_id != user.user_id:
            remove.append(device_id)
            add.append(user)
    return Change(tuple(remove), tuple(add))


def changes_to(listed: Mapping[DeviceId, str], now: Mapping[DeviceId, RealityUser]) -> Change:
    """Return what makes the users whom Xray lists, with their ids, a plan's."""
    remove = [device_id for device_id in listed if device_id not in now]
    add = []
    for device_id, user in now.items():
        has = listed.get(device_id)
        if has is not None and has != spell_user_id(user.user_id):
            remove.append(device_id)
            has = None
        if has is None:
            add.append(user)
    return Change(tuple(remove), tuple(add))
