"""The header that Linux puts before each packet of a TUN interface when work was left undone (linux/virtio_net.h).

A packet larger than any wire takes stands for several, and a checksum may be missing: the last to hold it does both.
"""

from struct import Struct
from typing import Final

VNET_HEADER: Final = Struct("=BBHHHH")
"""Flags, kind of segmentation, bytes of all headers, bytes of each payload, where the checksummed part begins, and
where in that part the checksum stands. In the machine's own byte order."""
VNET_BYTES: Final = VNET_HEADER.size
NOTHING_TO_DO: Final = bytes(VNET_BYTES)
"""Of a packet that is whole."""

NEEDS_CHECKSUM: Final = 1
"""Its field holds the sum of the pseudo header only."""

WHOLE: Final = 0
TCP4: Final = 1
TCP6: Final = 4
UDP: Final = 5
"""Either family; since Linux 6.2."""
