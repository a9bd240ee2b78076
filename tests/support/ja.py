"""JA3 and JA4, by which passive observers tell TLS clients apart.

JA3: <https://github.com/salesforce/ja3>. JA4: <https://github.com/FoxIO-LLC/ja4>, `technical_details/JA4.md`. GREASE
counts in neither.
"""

from __future__ import annotations

import hashlib

from pharos.wire.reality.codec import Reader, integers
from pharos.wire.reality.extensions import GREASE, Extension
from pharos.wire.reality.hello import ClientHello


def ja3(hello: ClientHello, *, in_order: bool = True) -> str:
    """The text before it is hashed; not ``in_order``, extensions are sorted, for a browser that shuffles them."""
    extensions = _plain(tuple(hello.extensions))
    fields = [
        [0x0303],
        _plain(hello.suites),
        extensions if in_order else sorted(extensions),
        _plain(hello.groups),
        list(hello.extensions[Extension.EC_POINT_FORMATS][1:]),
    ]
    return ",".join("-".join(str(value) for value in field) for field in fields)


def ja4(hello: ClientHello) -> str:
    extensions = _plain(tuple(hello.extensions))
    suites = _plain(hello.suites)
    # Length of the list, then its schemes, in the client's order.
    reader = Reader(hello.extensions[Extension.SIGNATURE_ALGORITHMS], "signature_algorithms")
    schemes = _plain(integers(reader.vector(2), 2, "signature_algorithms"))
    version = {0x0304: "13", 0x0303: "12"}[max(_plain(hello.versions))]
    protocol = hello.alpn[0].decode()
    head = f"t{version}{'d' if hello.server_name else 'i'}{len(suites):02}{len(extensions):02}"
    hashed = [code for code in extensions if code not in {Extension.SERVER_NAME, Extension.ALPN}]
    behind = _digest(f"{_hexadecimal(sorted(hashed))}_{_hexadecimal(schemes)}")
    return f"{head}{protocol[0]}{protocol[-1]}_{_digest(_hexadecimal(sorted(suites)))}_{behind}"


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _plain(codes: tuple[int, ...]) -> list[int]:
    return [code for code in codes if code not in GREASE]


def _hexadecimal(codes: list[int]) -> str:
    return ",".join(f"{code:04x}" for code in codes)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
