"""Every bound that a peer meets on one HTTP/2 connection, with the sum behind it."""

from typing import Final

from pharos.wire.units import KIB, MIB, SECONDS

# security.md row 41: a gRPC length prefix may claim 4 GiB; refused from the prefix, before allocation.
MAX_MESSAGE: Final = 1 * MIB

# security.md row 35: the decoded header list (RFC 9113 §6.5.2 counts 32 bytes extra per field) and its
# number of fields. gRPC itself sends about ten fields, 500 bytes.
MAX_HEADER_LIST: Final = 16 * KIB
MAX_HEADER_FIELDS: Final = 64

# Streams that a peer may hold open at once; passage.md §2.
MAX_STREAMS: Final = 100
INNER_STREAMS: Final = 16
EDGE_STREAMS: Final = 4
TUNNEL_STREAMS: Final = 500

# The frame size every peer must take (RFC 9113 §4.2); larger ones would let one stream fill the output buffer.
MAX_FRAME: Final = 16 * KIB

# Senders wait while this much output is unsent: four full frames, enough to fill a TLS record train.
OUTPUT_HIGH: Final = 64 * KIB
# What we must answer without being able to wait (PING and SETTINGS acknowledgements, resets, window updates)
# piles up behind a peer that does not read. 64 KiB of it is 3,800 acknowledgements: no honest peer (row 39).
OUTPUT_CAP: Final = OUTPUT_HIGH + 64 * KIB

# Half-open TCP is found within 45 s (security.md §3): a PING after each 15 s of silence, lost at the third.
KEEPALIVE_INTERVAL: Final = 15 * SECONDS
KEEPALIVE_MISSES: Final = 3

# How long a GOAWAY, or a NoiseStream's authenticated close, may take to leave this machine.
CLOSE_GRACE: Final = 1 * SECONDS

# h2 remembers how closed streams ended, 65,536 of them by default (6 MB for a long-lived tunnel). It is needed
# for frames that were in flight when we reset a stream: 4,096 resets within one round trip are plenty.
REMEMBERED_STREAMS: Final = 4096
