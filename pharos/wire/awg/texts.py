"""Values of a tunnel's configuration as text, strictly read; shared by configuration files and the UAPI.

Each ``read_x`` raises ValueError with the rule that the text breaks; the text itself is the caller's to quote, for it
may be a secret.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from typing import Final, TypeAlias

from pharos.wire.awg.endpoint import Address
from pharos.wire.awg.ranges import MAX_U32, Range, parse_range

Network: TypeAlias = IPv4Network | IPv6Network
Interface: TypeAlias = IPv4Interface | IPv6Interface

KEY_BYTES: Final = 32
MAX_U16: Final = 2**16 - 1
# A conservative host name (RFC 1123 §2.1); underscores are seen in private zones.
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,10}", re.ASCII)
_HEX_NUMBER: Final = re.compile(r"0x[0-9A-Fa-f]{1,8}", re.ASCII)
_HEX_KEY: Final = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)
_ADDRESS: Final = re.compile(r"[0-9A-Fa-f.:]{2,45}(?:/[0-9]{1,3})?", re.ASCII)
_ZONE: Final = re.compile(r"[A-Za-z0-9_.-]{1,15}", re.ASCII)  # A name of an interface: IFNAMSIZ less its zero.
_TABLE: Final = re.compile(r"auto|off|[A-Za-z_][A-Za-z0-9_.-]{0,31}", re.ASCII)
_FLAGS: Final = {"on": True, "1": True, "true": True, "off": False, "0": False, "false": False}


def read_number(text: str, low: int = 0, high: int = MAX_U32) -> int:
    """Read a decimal number."""
    if _NUMBER.fullmatch(text) is None or not low <= int(text) <= high:
        raise ValueError(f"must be a whole number from {low} to {high}")
    return int(text)


def read_port(text: str) -> int:
    """Read a UDP port; 0 lets the system choose."""
    return read_number(text, 0, MAX_U16)


def read_base64_key(text: str) -> bytes:
    """Read 32 bytes as WireGuard's tools print them: 44 characters, in the one way there is to write them."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES or write_base64_key(key) != text:
        raise ValueError("must be 32 bytes in base64, 44 characters")
    return key


def write_base64_key(key: bytes) -> str:
    return base64.b64encode(key).decode()


def read_hex_key(text: str) -> bytes:
    """Read 32 bytes as the UAPI writes them."""
    if _HEX_KEY.fullmatch(text) is None:
        raise ValueError("must be 32 bytes in hexadecimal, 64 digits")
    return bytes.fromhex(text)


def read_flag(text: str) -> bool:
    """Read ``on`` or ``off`` and what else the tools take for them."""
    flag = _FLAGS.get(text.lower())
    if flag is None:
        raise ValueError("must be on or off")
    return flag


def write_flag(flag: bool) -> str:
    return "on" if flag else "off"


def read_keepalive(text: str) -> Range | None:
    """Read the seconds of a persistent keepalive, or a range of them; ``off`` and 0 are None."""
    if text.lower() == "off":
        return None
    try:
        seconds = parse_range(text)
    except ValueError:
        seconds = Range(1, 0)
    if seconds == Range(0, 0):
        return None
    if not 0 < seconds.low <= seconds.high <= MAX_U16:
        raise ValueError(f"must be off, or seconds from 1 to {MAX_U16}, or a range of them as in 20-30")
    return seconds


def read_mark(text: str) -> int:
    """Read a mark of the firewall; ``off`` is 0."""
    if text.lower() == "off":
        return 0
    if _HEX_NUMBER.fullmatch(text) is not None:
        return int(text, 16)
    try:
        return read_number(text)
    except ValueError:
        raise ValueError("must be off or a u32, decimal or as in 0xca6c") from None


def read_network(text: str) -> Network:
    """Read an allowed network; bits beyond its prefix are dropped, as by every WireGuard."""
    try:
        return ipaddress.ip_network(_numeric(text), strict=False)
    except ValueError:
        raise ValueError("must be an IP address, or a network as in 10.8.0.0/24") from None


def read_interface(text: str) -> Interface:
    """Read an address of the interface; without a prefix it stands alone."""
    try:
        return ipaddress.ip_interface(_numeric(text))
    except ValueError:
        raise ValueError("must be an IP address with a prefix as in 10.8.0.2/32") from None


def read_endpoint(text: str) -> Address:
    """Read ``host:port`` or ``[IPv6]:port``; a host may be a name, and is not resolved."""
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        good = _is_ipv6(host)
    else:
        good = _is_host(host)
    if not good or _NUMBER.fullmatch(port) is None or not 0 < int(port) <= MAX_U16:
        raise ValueError("must be host:port or [IPv6]:port")
    return host, int(port)


def write_endpoint(endpoint: Address) -> str:
    host, port = endpoint
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def read_resolver(text: str) -> str:
    """Read the address of a resolver or a search domain."""
    if not _is_host(text) and not (_is_ipv6(text) and "%" not in text):
        raise ValueError("must be an IP address or a search domain")
    return text


def read_table(text: str) -> str:
    """Read ``auto``, ``off``, or the number or name of a routing table."""
    if _TABLE.fullmatch(text) is None:
        try:
            return str(read_number(text))
        except ValueError:
            raise ValueError("must be auto, off, or a routing table's number or name") from None
    return text


def _numeric(text: str) -> str:
    # The standard library also takes zones and netmasks, which no WireGuard does.
    if _ADDRESS.fullmatch(text) is None:
        raise ValueError(text)
    return text


def _is_host(text: str) -> bool:
    """Tell an IPv4 address or a host name; a name that ends in a number is a mistyped address (RFC 3696 §2)."""
    if _HOST_NAME.fullmatch(text) is None:
        return False
    if not text.rstrip(".").rpartition(".")[2].isdigit():
        return True
    return is_ipv4(text)


def is_ipv4(text: str) -> bool:
    """Tell a numeric IPv4 address from anything else."""
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _is_ipv6(host: str) -> bool:
    bare, percent, zone = host.partition("%")
    try:
        ipaddress.IPv6Address(bare)
    except ValueError:
        return False
    # The zone is anything at all to the standard library, a line break included.
    return not percent or _ZONE.fullmatch(zone) is not None
