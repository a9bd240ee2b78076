"""The keys of a tunnel's configuration file: how each is spelt, read and written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

from pharos.wire.awg import rules
from pharos.wire.awg.findings import quote
from pharos.wire.awg.ranges import Range, parse_range
from pharos.wire.awg.texts import (
    MAX_U16,
    read_base64_key,
    read_endpoint,
    read_flag,
    read_interface,
    read_keepalive,
    read_mark,
    read_network,
    read_number,
    read_port,
    read_resolver,
    read_table,
    write_base64_key,
    write_endpoint,
    write_flag,
)
from pharos.wire.errors import ParameterError

# What IPv4 can still work with (RFC 791), and what a length field of 16 bits can say.
MIN_MTU: Final = 68


@attrs.frozen
class Key:
    """A key of a section and the field that holds its value."""

    name: str
    """As WireGuard's tools spell it; a file may use any case."""
    field: str
    read: Callable[[str], Any]
    """Raises: ValueError — the rule that the text breaks."""
    write: Callable[[Any], str] = str
    many: bool = False
    """Its value is a list, separated by commas; several lines add up."""
    secret: bool = False

    def show(self, text: str) -> str:
        """Quote a value in a message."""
        return "(hidden)" if self.secret else quote(text)


def check_fields(section: attrs.AttrsInstance, keys: tuple[Key, ...]) -> None:
    """A value fits if the text it writes reads back as the same value; so no value can write two lines.

    Raises: ParameterError — one does not; the message names key, value and rule.
    """
    defaults = attrs.fields_dict(type(section))
    for key in keys:
        value = getattr(section, key.field)
        if value == defaults[key.field].default:
            continue
        for one in value if key.many else (value,):
            try:
                text = key.write(one)
                if key.read(text) == one:
                    continue
                rule = "must read back as it was written"
            except (AttributeError, TypeError, ValueError) as error:
                rule = str(error)
            raise ParameterError(f"{key.name} = {key.show(str(one))}: {rule}")


def _mtu(text: str) -> int:
    return read_number(text, MIN_MTU, MAX_U16)


def _count(text: str) -> int:
    return read_number(text, 0, MAX_U16)


def _range(text: str) -> Range:
    try:
        return parse_range(text)
    except ValueError:
        raise ValueError("must be a whole number, or a range of two as in 5-9") from None


def _true(flag: object) -> str:
    return "true" if flag else "false"


INTERFACE_KEYS: Final = (
    Key("PrivateKey", "private_key", read_base64_key, write_base64_key, secret=True),
    Key("ListenPort", "listen_port", read_port),
    Key("FwMark", "fwmark", read_mark, hex),
    Key("Address", "addresses", read_interface, many=True),
    Key("DNS", "dns", read_resolver, many=True),
    Key("MTU", "mtu", _mtu),
    Key("Table", "table", read_table),
    Key("SaveConfig", "save_config", read_flag, _true),
)
PARAMETER_KEYS: Final = (
    *(Key(name, name.lower(), _count) for name in ("Jc", "Jmin", "Jmax", "S1", "S2", "S3", "S4")),
    *(Key(name, name.lower(), _range) for name in ("H1", "H2", "H3", "H4")),
    # The parameters read these themselves, for their errors point into the template.
    *(Key(name, name.lower(), str) for name in ("I1", "I2", "I3", "I4", "I5")),
    Key("HeaderProtectionKey", "header_protection_key", read_base64_key, write_base64_key, secret=True),
    Key("ContentPaddingAddition", "content_padding_addition", _range),
    *(
        Key(name, field, _range)
        for name, field in zip(
            ("RekeyAfterTime", "RekeyTimeout", "RejectAfterTime", "KeepaliveTimeout", "MaxHandshakeAttempts"),
            rules.TIMINGS,
            strict=True,
        )
    ),
    Key("RandomTrailers", "random_trailers", read_flag, write_flag),
    Key("DisableCookies", "disable_cookies", read_flag, write_flag),
)
PEER_KEYS: Final = (
    Key("PublicKey", "public_key", read_base64_key, write_base64_key),
    Key("PresharedKey", "preshared_key", read_base64_key, write_base64_key, secret=True),
    Key("AllowedIPs", "allowed_ips", read_network, many=True),
    Key("Endpoint", "endpoint", read_endpoint, write_endpoint),
    Key("PersistentKeepalive", "persistent_keepalive", read_keepalive),
    Key("AdvancedSecurity", "advanced_security", read_flag, write_flag),
)
PARAMETER_NAMES: Final = {key.field: key.name for key in PARAMETER_KEYS}
"""The file's spelling of each parameter."""
