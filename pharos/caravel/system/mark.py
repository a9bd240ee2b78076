"""Firewall marks by which packets are routed past the tunnel, or into it (SO_MARK, socket(7)). Pure."""

from __future__ import annotations

from typing import Final

import attrs

from pharos.wire.errors import ConfigError

ALL_BITS: Final = 0xFFFF_FFFF


@attrs.frozen(kw_only=True)
class Marks:
    """Two bits of a packet's mark; the others are left to whoever uses them."""

    outside: int = 0x0400_0000
    """Goes by the machine's own routes, and the kill switch lets it out."""
    inside: int = 0x0800_0000
    """Goes into the tunnel, where only some things do."""
    mask: int = 0x0C00_0000
    """Those of Docker, Kubernetes (0x4000, 0x8000) and Tailscale (0xff0000) are others."""

    def __attrs_post_init__(self) -> None:
        """Raises: ConfigError."""
        values = (self.outside, self.inside)
        if self.outside == self.inside or any(not 0 < value <= self.mask <= ALL_BITS for value in values):
            raise ConfigError("marks: outside and inside must differ, and be neither 0 nor more than the mask")
        if any(value & ~self.mask for value in values):
            raise ConfigError(f"marks: outside and inside must lie within the mask {self.mask:#x}")

    @property
    def others(self) -> int:
        """The bits that are not ours."""
        return ALL_BITS & ~self.mask
