"""How a device speaks to a node it has a link to: what the link says, and what each device may choose for itself."""

from __future__ import annotations

from typing import Final

import attrs

from pharos.wire.errors import ParameterError
from pharos.wire.reality.auth import Version
from pharos.wire.reality.client import CLIENT_VERSION, ClientSettings
from pharos.wire.reality.draws import Random, choice
from pharos.wire.reality.params import SHORT_ID_OCTETS
from pharos.wire.reality.parrots import CHROME, FIREFOX, PARROTS, SAFARI, Parrot
from pharos.wire.reality.sharelink import ShareLink

FALLBACKS: Final = {"edge": CHROME, "360": CHROME, "qq": CHROME, "android": CHROME, "ios": SAFARI}
"""For names that we have no hello of: the first three are Chromium under another name, and say hello as Chrome does;
apps on Android mostly speak by Chrome's library; every browser of iOS is Safari's engine."""
DRAWN: Final = frozenset({"random", "randomized"})
"""One of ours is drawn. Xray puts together, for the second, a hello that no browser sends: we do not."""


@attrs.frozen(kw_only=True)
class Endpoint:
    """Where a node listens, and how to speak to it there."""

    host: str
    """Host name or IP address."""
    port: int
    settings: ClientSettings

    def __str__(self) -> str:
        return f"{self.host} port {self.port}"


@attrs.frozen(kw_only=True)
class DialOptions:
    """What no link says."""

    post_quantum: bool = True
    """Whether the hello offers X25519MLKEM768, as browsers do; Xray's nodes before May 2025 fail at it."""
    version: Version = CLIENT_VERSION
    """Of the client, as it says to the node, which may ask for a newest or an oldest one."""


DEFAULT_OPTIONS: Final = DialOptions()


def parrot_of(fingerprint: str, *, random: Random) -> Parrot:
    """Return the hello for a fingerprint's name; one that nobody knows yet gets Chrome's, as most browsers are that."""
    if fingerprint in DRAWN:
        return choice(random, (CHROME, FIREFOX, SAFARI))
    return PARROTS.get(fingerprint) or FALLBACKS.get(fingerprint, CHROME)


def pad_short_id(text: str) -> bytes:
    """Return a short id, hexadecimal, as it stands in the hello."""
    return bytes.fromhex(text).ljust(SHORT_ID_OCTETS, b"\0")


def endpoint_of(link: ShareLink, options: DialOptions = DEFAULT_OPTIONS, *, random: Random) -> Endpoint:
    """Return where and how a link's node is dialled. ``spx`` has no part in it: we look around on no true site."""
    return Endpoint(
        host=link.address.host,
        port=link.address.port,
        settings=ClientSettings(
            server_name=link.server_name,
            public_key=link.public_key,
            short_id=pad_short_id(link.short_id),
            parrot=parrot_of(link.fingerprint, random=random),
            post_quantum=options.post_quantum,
            version=options.version,
            mldsa65_key=link.verify_key or None,
        ),
    )


def parse_version(text: str) -> Version:
    """Read a version as Xray's configuration has it, ``26.3.27``.

    Raises: ParameterError.
    """
    parts = text.split(".")
    numbers = [int(part) for part in parts if part.isascii() and part.isdigit() and len(part) <= 3]
    if len(parts) != 3 or len(numbers) != 3 or max(numbers) > 255:
        raise ParameterError(f"version {text[:20]!r}: must be three numbers from 0 to 255 with dots between them")
    return numbers[0], numbers[1], numbers[2]


def render_version(version: Version) -> str:
    """Return it as `parse_version` reads it."""
    return ".".join(map(str, version))
