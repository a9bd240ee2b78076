"""``vless://`` links, as other programs write and read them: one way into one node, with the secret in it.

    vless://<uuid>@<host>:<port>?type=tcp&encryption=none&flow=…&security=reality&pbk=…&fp=…&sni=…&sid=…&spx=…&pqv=…#<name>

Names and values are percent-encoded UTF-8; an IPv6 address stands in brackets. What REALITY over TCP does not know is
kept and given back, for another program may.
"""

from __future__ import annotations

import base64
import io
import re
import uuid
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

import attrs
import segno

from pharos.wire.errors import LinkFormatError, LocalProtocolError, ParameterError
from pharos.wire.reality.accounts import parse_user_id
from pharos.wire.reality.addresses import Address, canonical_host
from pharos.wire.reality.params import is_host_name
from pharos.wire.reality.vless import Flow

MAX_LINK: Final = 4096
"""Characters. The longest parameter is pqv with 2,603; a QR code takes 2,953 octets at its lowest level."""
MAX_OTHERS: Final = 32
"""Parameters that we only keep; the links of other programs have some twenty at most."""
FINGERPRINTS: Final = frozenset(
    {"chrome", "firefox", "safari", "ios", "android", "edge", "360", "qq", "random", "randomized"}
)
PUBLIC_KEY_OCTETS: Final = 32
VERIFY_KEY_OCTETS: Final = 1952
"""Of ML-DSA-65 (FIPS 204 table 2)."""
UDP443_FLOW: Final = "xtls-rprx-vision-udp443"
"""Vision for clients that let QUIC pass, as ours does; servers are told the plain one."""

_SCHEME: Final = "vless://"
_SHORT_ID: Final = re.compile(r"(?:[0-9a-f]{2}){0,8}")
_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_MAX_QUOTED: Final = 40
# As JavaScript's encodeURIComponent has it, which most programs use.
_UNESCAPED: Final = "-_.!~*'()"
_OURS: Final = ("type", "encryption", "flow", "security", "pbk", "fp", "sni", "sid", "spx", "pqv")


@attrs.frozen(kw_only=True)
class ShareLink:
    """Raises: LinkFormatError — a value breaks a rule of its parameter, which the error names."""

    user_id: bytes = attrs.field(repr=False)
    address: Address
    public_key: bytes
    """``pbk``: the node's, X25519."""
    server_name: str
    """``sni``: what the hello asks for."""
    short_id: str = ""
    """``sid``: lower-case hexadecimal."""
    flow: str = Flow.VISION.value
    fingerprint: str = "chrome"
    """``fp``: whose hello to look like."""
    spider_path: str = "/"
    """``spx``: where a client that met the true site would begin to look around as a browser does."""
    verify_key: bytes = attrs.field(default=b"", repr=False)
    """``pqv``: of ML-DSA-65, if the node proves itself by that as well."""
    name: str = ""
    """What people call it."""
    others: tuple[tuple[str, str], ...] = ()
    """Parameters that we do not know, in their order."""

    def __attrs_post_init__(self) -> None:
        _check(len(self.user_id) == 16, "uuid", "must be 16 octets")
        _check(len(self.public_key) == PUBLIC_KEY_OCTETS, "pbk", f"must be {PUBLIC_KEY_OCTETS} octets")
        _check(is_host_name(self.server_name), "sni", "must be a lower-case DNS name, no wildcard and no address")
        _check(bool(_SHORT_ID.fullmatch(self.short_id)), "sid", "must be 0 to 16 hexadecimal digits, an even number")
        _check(self.flow in _FLOWS, "flow", f"must be empty or {Flow.VISION.value}")
        _check(self.fingerprint in FINGERPRINTS, "fp", f"must be one of {', '.join(sorted(FINGERPRINTS))}")
        _check(self.spider_path.startswith("/"), "spx", "must begin with /")
        _check(
            len(self.verify_key) in (0, VERIFY_KEY_OCTETS), "pqv", f"must be {VERIFY_KEY_OCTETS} octets of ML-DSA-65"
        )
        _check(self.spider_path.isprintable(), "spx", "must be printable")
        _check(self.name.isprintable(), "the name behind #", "must be printable")
        _check(len(self.others) <= MAX_OTHERS, "the parameters", f"must be at most {MAX_OTHERS} besides ours")
        names = [*_OURS, *(name for name, _ in self.others)]
        _check(all(names), "the parameters", "must have names")
        _check(len(set(names)) == len(names), "the parameters", "must not be there twice")
        _check(dict(self.others).get("headerType", "none") in ("", "none"), "headerType", "must be none")

    @property
    def vless_flow(self) -> Flow:
        """What a request says."""
        return _FLOWS[self.flow]

    def render(self) -> str:
        """Return the link, which contains the secret: for a screen or a QR code, never for a log.

        Raises: LinkFormatError — it would be longer than a link may be.
        """
        pairs = [("type", "tcp"), ("encryption", "none"), ("flow", self.flow), ("security", "reality")]
        pairs += [("pbk", _encode(self.public_key)), ("fp", self.fingerprint), ("sni", self.server_name)]
        pairs += [("sid", self.short_id), ("spx", self.spider_path), ("pqv", _encode(self.verify_key))]
        query = "&".join(f"{_quote(key)}={_quote(value)}" for key, value in [*filter(_has_value, pairs), *self.others])
        fragment = f"#{_quote(self.name)}" if self.name else ""
        text = f"{_SCHEME}{uuid.UUID(bytes=self.user_id)}@{self.address}?{query}{fragment}"
        _check(len(text) <= MAX_LINK, "the link", f"must be at most {MAX_LINK} characters")
        return text

    @classmethod
    def parse(cls, text: str) -> ShareLink:
        """Raises: LinkFormatError — it is no such link, or for another transport; the error never quotes the secret."""
        _check(len(text) <= MAX_LINK, "the link", f"must be at most {MAX_LINK} characters")
        _check(text.startswith(_SCHEME), "the link", f"must begin with {_SCHEME}")
        rest, _, fragment = text.removeprefix(_SCHEME).partition("#")
        place, _, query = rest.partition("?")
        user, at, place = place.partition("@")
        _check(bool(at), "uuid", "must stand before an @")
        values = _parameters(query)
        kind = values.pop("type", "tcp")
        _check(kind in ("tcp", "raw"), "type", f"{kind[:_MAX_QUOTED]!r} is not spoken here; REALITY goes over tcp")
        security = values.pop("security", "")
        _check(security == "reality", "security", f"{security[:_MAX_QUOTED]!r} is not spoken here; must be reality")
        _check(values.pop("encryption", "none") == "none", "encryption", "must be none")
        found: dict[str, Any] = {
            "user_id": _user_id(_unquote("uuid", user)),
            "address": _address(place.removesuffix("/")),
            "public_key": _decode("pbk", values.pop("pbk", "")),
            "server_name": values.pop("sni", "").lower(),
            "short_id": values.pop("sid", "").lower(),
            "flow": values.pop("flow", ""),
            "fingerprint": values.pop("fp", "") or "chrome",
            "spider_path": values.pop("spx", "") or "/",
            "verify_key": _decode("pqv", values.pop("pqv", "")),
            "name": _unquote("the name behind #", fragment),
        }
        return cls(**found, others=tuple(values.items()))


_FLOWS: Final = {"": Flow.NONE, Flow.VISION.value: Flow.VISION, UDP443_FLOW: Flow.VISION}


def qr_svg(link: str) -> str:
    """Return a QR code as an SVG element to stand in a page.

    Raises: LinkFormatError — it is too long for one.
    """
    return _qr(link).svg_inline(border=4, scale=4)


def qr_text(link: str) -> str:
    """Return a QR code in block characters, two rows a line, for a dark terminal.

    Raises: LinkFormatError — it is too long for one.
    """
    out = io.StringIO()
    _qr(link).terminal(out, compact=True)
    return out.getvalue()


def _qr(link: str) -> segno.QRCode:
    try:
        return segno.make_qr(link, error="l")
    except segno.DataOverflowError:
        raise LinkFormatError("the link is too long for a QR code; leave pqv out, or hand the text over") from None


def _parameters(query: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for pair in query.split("&") if query else ():
        name, equals, value = pair.partition("=")
        name = _unquote("the parameters", name)
        shown = repr(name[:_MAX_QUOTED])
        _check(bool(name) and bool(equals), shown, "must be name=value")
        _check(name not in values, shown, "must not be there twice")
        values[name] = _unquote(shown, value)
    return values


def _user_id(text: str) -> bytes:
    try:
        return parse_user_id(text)
    except ParameterError as error:
        raise LinkFormatError(f"vless link: uuid: {error}") from None


def _address(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    _check(bool(colon) and port.isascii() and port.isdigit() and len(port) <= 5, "port", "must be 1 to 65535")
    bare = canonical_host(host[1:-1] if bracketed else host.lower())
    _check(bare is not None and (":" in bare) == bracketed, "host", "must be a name or an address, IPv6 in brackets")
    assert bare is not None, "it was checked"
    try:
        return Address(bare, int(port))
    except LocalProtocolError:
        raise LinkFormatError("vless link: port: must be 1 to 65535") from None


def _unquote(what: str, text: str) -> str:
    _check(text.isascii() and text.isprintable(), what, "must be percent-encoded")
    _check(not _ESCAPE.search(text), what, "has a % without two hexadecimal digits behind it")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise LinkFormatError(f"vless link: {what}: must be UTF-8") from None


def _quote(text: str) -> str:
    return quote(text, safe=_UNESCAPED)


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(what: str, text: str) -> bytes:
    """Read base64url without padding, in its one spelling; whether it is as long as it must be is seen later."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raw = b""
    _check(_encode(raw) == text, what, "must be base64url without padding")
    return raw


def _has_value(pair: tuple[str, str]) -> bool:
    return bool(pair[1])


def _check(holds: bool, what: str, rule: str) -> None:
    if not holds:
        raise LinkFormatError(f"vless link: {what}: {rule}")
