"""REALITY's public parameters, and the rules they obey as Xray reads them.

What is secret of REALITY, the node's key, is in none of them: the node derives it (`pharos.wire.seal.realitykey`).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs

from pharos.wire.errors import ParameterError

# A certificate of a large site names hundreds of hosts; a device needs one of them, and an owner types few.
MAX_SERVER_NAMES: Final = 8
# One is in use, and each re-issue replaces it: eight leave room for a helm that gives several out.
MAX_SHORT_IDS: Final = 8
MAX_HOST: Final = 253
"""Characters of a host name (RFC 1035 §2.3.4, without the length octets)."""
SHORT_ID_OCTETS: Final = 8
"""Of the field in the client's hello; a shorter id is filled up with zeros behind it."""
MAX_GENERATION: Final = 2**32 - 1
# A target is a host, brackets, a colon and a port; whatever is longer is quoted by its beginning.
_MAX_QUOTED: Final = 60

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# The last label is not a number, or it would be read as an IPv4 address (URL standard, "ends in a number").
_HOST_NAME: Final = re.compile(rf"(?:{_LABEL}\.)*(?!\d+\Z){_LABEL}")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
_SHORT_ID: Final = re.compile(r"(?:[0-9a-f]{2}){0,8}")


@attrs.frozen(kw_only=True)
class RealityParameters:
    """How a node's REALITY looks from outside, and by which names and ids its devices show that they are its own.

    Raises: ParameterError — a value breaks a rule; the message names key, value and rule.
    """

    target: str
    """``host:port`` of the site that strangers are passed on to; an IPv6 address stands in brackets."""
    server_names: tuple[str, ...]
    """Names that a hello may ask for; the target has a certificate for each. Compared as they stand, no wildcards."""
    short_ids: tuple[str, ...]
    """Of which a device shows one, in hexadecimal; empty is eight zeros."""
    generation: int
    """Counts the node's keys, from 1: each has a key pair of its own."""

    def __attrs_post_init__(self) -> None:
        split_target(self.target)
        check_server_names(self.server_names)
        check_short_ids(self.short_ids)
        # What a file or a peer says may be of any type.
        number: object = self.generation
        if not isinstance(number, int) or isinstance(number, bool) or not 0 < number <= MAX_GENERATION:
            raise _broken("generation", number, f"must be a whole number from 1 to {MAX_GENERATION}")

    def as_mapping(self) -> dict[str, Any]:
        """Parameters by name, ready for JSON."""
        return {
            "target": self.target,
            "server_names": list(self.server_names),
            "short_ids": list(self.short_ids),
            "generation": self.generation,
        }

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> RealityParameters:
        """Take a mapping as ``as_mapping`` makes them.

        Raises: ParameterError — a name is unknown or missing, or a value breaks a rule.
        """
        names = {field.name for field in attrs.fields(cls)}
        for name in mapping:
            if name not in names:
                raise _broken(str(name), mapping[name], "no such parameter of REALITY")
        if missing := names - mapping.keys():
            raise ParameterError(f"{', '.join(sorted(missing))}: must be there")
        values: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in mapping.items()}
        return cls(**values)


def generate(
    random: Callable[[int], bytes], *, target: str, server_names: Iterable[str] = (), after: int = 0
) -> RealityParameters:
    """Make the parameters that follow those of generation ``after``, with a fresh short id.

    One is enough: it is encrypted in the hello, so that nobody sees that all devices show the same, and profiles that
    are alike for all of them are made once. Without ``server_names`` the target's own name is the only one.

    Raises: ParameterError — a value breaks a rule.
    """
    return RealityParameters(
        target=target,
        server_names=tuple(server_names) or (split_target(target)[0],),
        short_ids=(random(SHORT_ID_OCTETS).hex(),),
        generation=after + 1,
    )


def split_target(target: object) -> tuple[str, int]:
    """Return host, without brackets, and port.

    Raises: ParameterError — it is not in its usual spelling: lower case, an address as RFC 5952 has it.
    """
    host, _, port = target.rpartition(":") if isinstance(target, str) else ("", "", "")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not _PORT.fullmatch(port) or int(port) > 65535 or not (_is_address(host, bare) or is_host_name(host)):
        raise _broken("target", target, "must be host:port, a lower-case name or an address (IPv6 in brackets)")
    return bare, int(port)


def check_server_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names if a server may go by them.

    Raises: ParameterError — one is none, or there are none, too many or the same twice.
    """
    _check_list("server_names", names, MAX_SERVER_NAMES)
    for name in names:
        if not is_host_name(name):
            raise _broken("server_names", name, "must be lower-case DNS names, no wildcards and no addresses")
    if len(set(names)) != len(names):
        raise _broken("server_names", names, "must not be there twice")
    return names


def check_short_ids(short_ids: tuple[str, ...]) -> tuple[str, ...]:
    """Return the ids if a server may go by them.

    Raises: ParameterError — one is none, or there are none, too many or the same twice.
    """
    _check_list("short_ids", short_ids, MAX_SHORT_IDS)
    for short_id in short_ids:
        if not _SHORT_ID.fullmatch(short_id):
            raise _broken("short_ids", short_id, "must be 0 to 16 lower-case hexadecimal digits, an even number")
    # The server compares all eight octets, so that ab and ab00 are one id.
    if len({short_id.ljust(2 * SHORT_ID_OCTETS, "0") for short_id in short_ids}) != len(short_ids):
        raise _broken("short_ids", short_ids, "must not be there twice")
    return short_ids


def is_host_name(text: object) -> bool:
    """Whether it is a DNS name as hellos carry it (RFC 6066 §3): lower case, no dot at its end, no address."""
    return isinstance(text, str) and len(text) <= MAX_HOST and _HOST_NAME.fullmatch(text) is not None


def _is_address(host: str, bare: str) -> bool:
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return False
    # A zone means something to one machine only.
    return str(address) == bare and "%" not in bare and (address.version == 6) == (host != bare)


def _check_list(key: str, values: object, most: int) -> None:
    if not isinstance(values, tuple) or not all(isinstance(value, str) for value in values):
        raise _broken(key, values, "must be a list of texts")
    if not 0 < len(values) <= most:
        raise _broken(key, values, f"must be 1 to {most} of them")


def _broken(key: str, value: object, rule: str) -> ParameterError:
    shown = repr(value)
    shown = shown if len(shown) <= _MAX_QUOTED else f"{shown[:_MAX_QUOTED]}…"
    return ParameterError(f"{key[:_MAX_QUOTED]} = {shown}: {rule}")
