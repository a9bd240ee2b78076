"""Every bound that a peer meets on one HTTP/2 connection, with the sum behind it."""

from typing import Final

from pharos.wire.units import KIB, MIB, SECONDS

# security.md row 41: a gRPC length prefix may claim 4 GiB; refused from the prefix, before allocation.
MAX_MESSAGE: Final = 1 * MIB

# security.md row 35: the decoded header list (RFC 9113 §6.5.2 counts 32 bytes extra per field) and its
# number of fields. gRPC itself sends about ten fields, 500 bytes.
MAX_HEADER_LIST: Final = 16 * KIB
MAX_HEADER_FIELDS: Final = 64

# A header block as it comes, before it is decoded. h2 bounds its frames by 64, which is 1 MiB of them (row 38).
MAX_HEADER_BLOCK: Final = 16 * KIB

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
# The side that was dialled waits a little longer: who is pinged need not ask, and one PING in 15 s is enough for both.
KEEPALIVE_LAG: Final = 1 * SECONDS
# All connections of a process ring at the same moments: to be woken twice a second for all of them costs a fraction of
# being woken for each.
KEEPALIVE_TICK: Final = 0.5 * SECONDS

# What a refused peer may still have in flight when we close: its HTTP/2 preface and first request.
LINGER_BYTES: Final = 64 * KIB
LINGER_TIME: Final = 1 * SECONDS
# How long a GOAWAY, or a NoiseStream's authenticated close, may take to leave this machine.
CLOSE_GRACE: Final = 1 * SECONDS

# h2 remembers how closed streams ended, 65,536 of them by default (6 MB for a long-lived tunnel). It is needed
# for frames that were in flight when we reset a stream: 4,096 resets within one round trip are plenty.
REMEMBERED_STREAMS: Final = 4096

# security.md rows 36 and 37: streams that a peer resets, or makes us reset, cost us a handler each. A hundred at once
# are all streams of a client that gives up; 20 a second are more than a person or a retrying program makes.
RESET_BURST: Final = 100.0
RESET_RATE: Final = 20.0
# Row 39: PING, SETTINGS, WINDOW_UPDATE, PRIORITY, empty DATA, unknown frames. An idle link needs 0.1 a second; one
# that reads needs a WINDOW_UPDATE or two for each half of a window, and has those free: see DATA_PER_CONTROL.
CONTROL_BURST: Final = 200.0
CONTROL_RATE: Final = 100.0
# Octets of DATA sent that earn the peer one control frame. The busiest readers answer each small message, which is a
# frame of 256 octets in a passage, with one update. A window opened octet by octet earns nothing to speak of (row 40).
DATA_PER_CONTROL: Final = 256

# Row 33. After the handshake the preface and SETTINGS come within one time-out, and a server's first request within
# another; a frame has FRAME_TIMEOUT seconds, and one more for each MIN_RATE octets of its length.
PREFACE_TIMEOUT: Final = 10 * SECONDS
FIRST_REQUEST_TIMEOUT: Final = 10 * SECONDS
FRAME_TIMEOUT: Final = 10 * SECONDS
MIN_RATE: Final = 100

# Row 40: whoever waits so long for one octet of credit, or of room, will not get it. A reset frees what it holds.
PROGRESS_TIMEOUT: Final = 30 * SECONDS

# What all connections of a relay may hold for those who do not read: of a thousand devices each could have its
# 128 KiB window filled both ways, 256 MiB. Beyond 64 MiB the largest stalled stream is reset (passage.md §2).
RELAY_HOLDINGS: Final = 64 * MIB
