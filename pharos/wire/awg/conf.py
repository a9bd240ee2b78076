"""The configuration file of `awg-quick` and `wg-quick`, as typed values that render themselves.

What ``confread`` reads, ``render`` writes back: no value is lost, and nothing else gets in. Comments are not values.
"""

from __future__ import annotations

import enum
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from typing import Final

import attrs

from pharos.wire.awg.confkeys import INTERFACE_KEYS, PARAMETER_KEYS, PEER_KEYS, Key, check_fields
from pharos.wire.awg.endpoint import Address
from pharos.wire.awg.findings import quote
from pharos.wire.awg.keys import NO_PRESHARED_KEY
from pharos.wire.awg.params import PLAIN, ObfuscationParameters
from pharos.wire.awg.ranges import Range
from pharos.wire.errors import ParameterError

# A shell command of some length; the file's other values are far shorter.
MAX_HOOK_CHARACTERS: Final = 4096


class HookTime(enum.Enum):
    """When `wg-quick` runs a hook, as the file spells it."""

    PRE_UP = "PreUp"
    POST_UP = "PostUp"
    PRE_DOWN = "PreDown"
    POST_DOWN = "PostDown"


@attrs.frozen
class Hook:
    """A command that `wg-quick` gives to a root shell; read and written only where that is asked for.

    Raises: ParameterError — it is empty, would not fit one line, or `wg-quick` would cut it at a comment.
    """

    time: HookTime
    command: str

    def __attrs_post_init__(self) -> None:
        fits = 0 < len(self.command) <= MAX_HOOK_CHARACTERS and self.command.isprintable()
        if not fits or self.command != self.command.strip() or "#" in self.command:
            raise ParameterError(
                f"{self.time.value} = {quote(self.command)}: must be one line of at most {MAX_HOOK_CHARACTERS} "
                "printable characters, without # and without space at its ends"
            )


@attrs.frozen(kw_only=True)
class InterfaceSection:
    """This end of the tunnel. Raises: ParameterError — a value does not fit its key."""

    private_key: bytes = attrs.field(default=b"", repr=False)
    """32 bytes; empty if the file has none."""
    listen_port: int | None = None
    fwmark: int = 0
    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()
    dns: tuple[str, ...] = ()
    """Addresses of resolvers and search domains."""
    mtu: int | None = None
    table: str = "auto"
    save_config: bool = False
    hooks: tuple[Hook, ...] = ()
    parameters: ObfuscationParameters = PLAIN

    def __attrs_post_init__(self) -> None:
        check_fields(self, INTERFACE_KEYS)


@attrs.frozen(kw_only=True)
class PeerSection:
    """The other end, or one of many. Raises: ParameterError — a value does not fit its key."""

    public_key: bytes = attrs.field(repr=bytes.hex)
    preshared_key: bytes = attrs.field(default=NO_PRESHARED_KEY, repr=False)
    """All zero means none."""
    allowed_ips: tuple[IPv4Network | IPv6Network, ...] = ()
    endpoint: Address | None = None
    """Its host may be a name."""
    persistent_keepalive: Range | None = None
    """Seconds, drawn anew each time; None for never."""
    advanced_security: bool | None = None
    """A flag of old kernel modules for peers with AmneziaWG; nobody acts on it any more."""

    def __attrs_post_init__(self) -> None:
        check_fields(self, PEER_KEYS)


@attrs.frozen(kw_only=True)
class TunnelConf:
    """A whole file."""

    interface: InterfaceSection = attrs.Factory(InterfaceSection)
    peers: tuple[PeerSection, ...] = ()


def render(conf: TunnelConf, *, hooks: bool = False) -> str:
    """Write the file, secrets included.

    Raises: ParameterError — there are hooks and they are not asked for.
    """
    interface = conf.interface
    if interface.hooks and not hooks:
        hook = interface.hooks[0]
        raise ParameterError(
            f"{hook.time.value} = {quote(hook.command)}: must be asked for, since root's shell runs it"
        )
    lines = ["[Interface]", *_lines(interface, INTERFACE_KEYS)]
    lines += [f"{hook.time.value} = {hook.command}" for hook in interface.hooks]
    lines += _lines(interface.parameters, PARAMETER_KEYS)
    for peer in conf.peers:
        lines += ["", "[Peer]", *_lines(peer, PEER_KEYS)]
    return "\n".join(lines) + "\n"


def _lines(section: attrs.AttrsInstance, keys: tuple[Key, ...]) -> list[str]:
    """What differs from its default, one line a key."""
    defaults = attrs.fields_dict(type(section))
    lines = []
    for key in keys:
        value = getattr(section, key.field)
        if value != defaults[key.field].default:
            text = ", ".join(map(key.write, value)) if key.many else key.write(value)
            lines.append(f"{key.name} = {text}")
    return lines
