"""AmneziaWG's framing a second time, slowly and without our engine's tables, to check ours against.

ChaCha20 is RFC 8439 §2.3 in plain Python; classification is the protocol note's paragraph, line by line.
"""

import struct

CORE = {1: 148, 2: 92, 3: 64}


def chacha20(key: bytes, nonce: bytes, count: int) -> bytes:
    """The first ``count`` bytes of keystream, block counter from 0."""
    stream = b""
    for counter in range(-(-count // 64)):
        start = [*struct.unpack("<4I", b"expand 32-byte k"), *struct.unpack("<8I", key), counter]
        start += struct.unpack("<3I", nonce)
        words = list(start)

        def quarter(a, b, c, d, words=words):
            for to, by, other, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                words[to] = (words[to] + words[by]) & 0xFFFFFFFF
                mixed = words[other] ^ words[to]
                words[other] = (mixed << turn | mixed >> (32 - turn)) & 0xFFFFFFFF

        for _ in range(10):
            for column in range(4):
                quarter(column, column + 4, column + 8, column + 12)
            for column in range(4):
                diagonal = [column, 4 + (column + 1) % 4, 8 + (column + 2) % 4, 12 + (column + 3) % 4]
                quarter(*diagonal)
        stream += struct.pack("<16I", *((word + first) & 0xFFFFFFFF for word, first in zip(words, start, strict=True)))
    return stream[:count]


def xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def classify(parameters, datagram: bytes) -> tuple[int | None, bytes]:
    """Return the kind a datagram claims to be and the message in it, unmasked."""
    paddings = {1: parameters.s1, 2: parameters.s2, 3: parameters.s3, 4: parameters.s4}
    headers = {1: parameters.h1, 2: parameters.h2, 3: parameters.h3, 4: parameters.h4}
    if len(datagram) < 32:
        return None, b""
    key = parameters.header_protection_key
    stream = chacha20(key, datagram[:12], 148) if key else bytes(148)
    for kind, size in CORE.items():
        offset = paddings[kind]
        fits = len(datagram) == offset + size or (parameters.random_trailers and len(datagram) > offset + size)
        if fits:
            (header,) = struct.unpack("<I", xor(datagram[offset : offset + 4], stream[:4]))
            if headers[kind].low <= header <= headers[kind].high:
                return kind, xor(datagram[offset : offset + size], stream[:size])
    offset = paddings[4]
    if len(datagram) >= offset + 32:
        (header,) = struct.unpack("<I", xor(datagram[offset : offset + 4], stream[:4]))
        if headers[4].low <= header <= headers[4].high:
            return 4, xor(datagram[offset : offset + 16], stream[:16]) + datagram[offset + 16 :]
    return None, b""
