"""The two postures as one table: product.md's, row by row. One engine runs both; these are its defaults."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

from pharos.helm.model.fleet import Posture
from pharos.helm.model.reality import PRESET, PRESETS

Value = bool | int | str | list[str]


@attrs.frozen(kw_only=True)
class Row:
    """What one thing is in each posture, until somebody sets it."""

    says: str
    """The row's name in product.md."""
    personal: Value
    enterprise: Value

    def of(self, posture: Posture) -> Value:
        """Return what holds in a posture."""
        return self.personal if posture is Posture.PERSONAL else self.enterprise


BEACON: Final = "beacon"
"""The row that is no setting of the record but a key of helm's own file: whether helm carries a beacon aboard."""

POSTURES: Final[Mapping[str, Row]] = MappingProxyType(
    {
        BEACON: Row(says="beacon", personal=True, enterprise=False),
        # In the order in which devices try them. Both postures have both; what differs is what one machine can serve.
        "protocols": Row(says="protocols", personal=["amneziawg", "reality"], enterprise=["amneziawg", "reality"]),
        # Optional in an enterprise is on until an admin says otherwise: a fleet of QR codes and MDM needs no logins.
        "account.sync": Row(says="account sync", personal=True, enterprise=True),
        # One owner may go by a password and a code; several admins need what cannot be told to a stranger.
        "admins.password": Row(says="admins", personal=True, enterprise=False),
        "audit.days": Row(says="audit kept", personal=30, enterprise=365),
        "metrics.days": Row(says="metrics kept", personal=7, enterprise=90),
        "copies.hourly": Row(says="hourly copies kept", personal=24, enterprise=72),
        "endpoints.rotate": Row(says="endpoint rotation", personal=False, enterprise=True),
        "reality.targets": Row(says="REALITY target", personal=[PRESET], enterprise=[*PRESETS]),
        "devices.limit": Row(says="device limit per user", personal=10, enterprise=5),
    }
)
"""By the name of the setting that changes it."""


def posture_value(name: str, posture: Posture) -> Value:
    """Return what a row is in a posture."""
    return POSTURES[name].of(posture)
