"""The four messages of WireGuard, as they are before AmneziaWG's framing (wireguard.pdf §5.4)."""

import enum
from struct import Struct
from typing import Final

from pharos.wire.awg.primitives import MAC_BYTES, TAG_BYTES


class MessageKind(enum.IntEnum):
    """Its number is WireGuard's type field and the index of AmneziaWG's S and H parameters."""

    INITIATION = 1
    RESPONSE = 2
    COOKIE_REPLY = 3
    TRANSPORT = 4


# Type, sender index, ephemeral, sealed static, sealed timestamp; two MACs follow.
INITIATION: Final = Struct("<II32s48s28s")
# Type, sender index, receiver index, ephemeral, sealed nothing; two MACs follow.
RESPONSE: Final = Struct("<III32s16s")
# Type, receiver index, nonce, sealed cookie.
COOKIE_REPLY: Final = Struct("<II24s32s")
# Type, receiver index, counter; the sealed packet follows.
TRANSPORT_HEADER: Final = Struct("<IIQ")

MACS_BYTES: Final = 2 * MAC_BYTES
KEEPALIVE_BYTES: Final = TRANSPORT_HEADER.size + TAG_BYTES
"""A transport message round nothing: the shortest there is."""

CORE_BYTES: Final = {
    MessageKind.INITIATION: INITIATION.size + MACS_BYTES,
    MessageKind.RESPONSE: RESPONSE.size + MACS_BYTES,
    MessageKind.COOKIE_REPLY: COOKIE_REPLY.size,
}
"""148, 92 and 64: the kinds of one fixed size."""

_INDEX: Final = Struct("<I")


def sender_index(handshake_message: bytes) -> int:
    """Of an initiation or a response."""
    (index,) = _INDEX.unpack_from(handshake_message, 4)
    return int(index)
