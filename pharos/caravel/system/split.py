"""What goes outside the tunnel, or alone goes in: a plan by networks, names, users and control groups. Pure.

Checked when it is made; `fit` says what of it the routes of system-wide mode do, `splitting` does the rest.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from pharos.caravel.managed import ManagedSplit, SplitMode
from pharos.caravel.system.plan import EVERYWHERE, IpNetwork, SystemPlan
from pharos.wire.errors import ConfigError

MAX_ROUTES: Final = 1000
"""As many networks as `SystemPlan` takes."""
MAX_DOMAINS: Final = 1000
MAX_USERS: Final = 256
MAX_CGROUPS: Final = 64
MAX_CGROUP_BYTES: Final = 1024
"""Of a path; a kernel's own limit is 4096, and no unit of systemd comes near either."""
MAX_UID: Final = 2**32 - 2
"""The last number stands for nobody (credentials(7))."""
KEYS: Final = ("mode", "routes", "domains", "users", "cgroups", "own_resolvers")
"""Of the table ``[split]``."""
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_USER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?|[0-9]{1,10}(?:-[0-9]{1,10})?")
# What systemd makes of names of units (systemd.unit(5)), as their groups are called.
_CGROUP: Final = re.compile(r"[A-Za-z0-9:_.\\@-]+")


def _routes(values: Iterable[str | IpNetwork]) -> tuple[IpNetwork, ...]:
    try:
        return tuple(dict.fromkeys(ipaddress.ip_network(value) for value in values))
    except ValueError as error:
        raise ConfigError(f"split: routes: {error}: write a network as 192.0.2.0/24 or 2001:db8::/32") from error


def domain_of(text: str) -> str:
    """Return a domain as it is compared: in lower case, in ASCII, without a dot at its end.

    ``*.example.org`` means what is below, ``example.org`` itself and what is below.

    Raises: ConfigError — no name can be so.
    """
    rest = text.strip().rstrip(".")
    star, rest = rest.startswith("*."), rest.removeprefix("*.").removeprefix(".")
    try:
        name = rest.encode("idna").decode("ascii").lower()
    except UnicodeError:
        name = ""
    if not 0 < len(name) <= 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise ConfigError(f"split: domains: {text[:80]!r} is no domain; write example.org or *.example.org")
    return f"*.{name}" if star else name


def _domains(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(domain_of(value) for value in values))


def _user(value: str | int) -> str:
    text = str(value)
    if _USER.fullmatch(text) is None:
        raise ConfigError(f"split: users: {text[:40]!r} is no user; write a name, a number, or numbers as 1000-1999")
    if text[0].isdigit():
        first, _, last = text.partition("-")
        if not int(first) <= int(last or first) <= MAX_UID:
            raise ConfigError(f"split: users: {text} is not a range of numbers from 0 to {MAX_UID}")
    return text


def _users(values: Iterable[str | int]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(_user, values)))


def _cgroup(text: str) -> str:
    path = text.strip("/")
    parts = path.split("/")
    if len(path) > MAX_CGROUP_BYTES or any(part in (".", "..") or not _CGROUP.fullmatch(part) for part in parts):
        raise ConfigError(
            f"split: cgroups: {text[:80]!r} is no control group; write its path, such as"
            " user.slice or system.slice/nginx.service"
        )
    return path


def _cgroups(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(_cgroup, values)))


def _bounded(most: int) -> Any:
    def check(_instance: object, attribute: attrs.Attribute[Any], value: tuple[Any, ...]) -> None:
        if len(value) > most:
            raise ConfigError(f"split: {attribute.name}: must be no more than {most}")

    return check


@attrs.frozen(kw_only=True)
class SplitPlan:
    """Raises: ConfigError, of a value that does not fit."""

    mode: SplitMode = SplitMode.OFF
    routes: tuple[IpNetwork, ...] = attrs.field(converter=_routes, default=(), validator=_bounded(MAX_ROUTES))
    domains: tuple[str, ...] = attrs.field(converter=_domains, default=(), validator=_bounded(MAX_DOMAINS))
    """As `domain_of` returns them."""
    users: tuple[str, ...] = attrs.field(converter=_users, default=(), validator=_bounded(MAX_USERS))
    """By name, number, or range of numbers."""
    cgroups: tuple[str, ...] = attrs.field(converter=_cgroups, default=(), validator=_bounded(MAX_CGROUPS))
    """Paths in the hierarchy of version 2; what is below is meant, too."""
    own_resolvers: bool = False
    """Whether names that go outside are asked of the machine's own resolvers, which alone know those of a LAN. Whoever
    runs the network can then say for each such name that it has any address, and so pull that out of the tunnel."""

    def __attrs_post_init__(self) -> None:
        named = bool(self.routes or self.domains or self.users or self.cgroups)
        if self.mode is SplitMode.OFF and named:
            raise ConfigError('split: mode: what is named must go somewhere: write mode = "exclude" or "include"')
        if self.mode is SplitMode.INCLUDE and not named:
            raise ConfigError("split: nothing would go in; name routes, domains, users or cgroups")

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> SplitPlan:
        """Return what the table ``[split]`` of a file says.

        Raises: ConfigError.
        """
        unknown = sorted(set(table) - set(KEYS))
        if unknown:
            raise ConfigError(f"split: {unknown[0][:40]!r} is no key of it; known are {', '.join(KEYS)}")
        try:
            mode = SplitMode(table.get("mode", "off"))
        except ValueError:
            raise ConfigError(f"split: mode = {table['mode']!r}: must be off, exclude or include") from None
        own = table.get("own_resolvers", False)
        if not isinstance(own, bool):
            raise ConfigError("split: own_resolvers: must be true or false")
        lists = {key: _list(key, table.get(key, ())) for key in ("routes", "domains", "users", "cgroups")}
        return cls(mode=mode, own_resolvers=own, **lists)

    @classmethod
    def from_managed(cls, managed: ManagedSplit) -> SplitPlan:
        """Return what an organisation says. Raises: ConfigError."""
        return cls(
            mode=managed.mode,
            routes=managed.routes,
            domains=managed.domains,
            users=managed.users,
            cgroups=managed.cgroups,
        )

    @property
    def excludes(self) -> bool:
        return self.mode is SplitMode.EXCLUDE

    @property
    def includes(self) -> bool:
        return self.mode is SplitMode.INCLUDE

    @property
    def by_mark(self) -> bool:
        """Whether packets have to be marked: routes alone cannot say which side they go."""
        return bool(self.domains or self.users or self.cgroups)

    @property
    def asks_outside(self) -> bool:
        """Whether names that are not named here are asked of the machine's own resolvers. Who asks cannot be told, so
        that none are where some users' packets go in alone."""
        return self.includes and not (self.users or self.cgroups)

    def fit(self, plan: SystemPlan) -> SystemPlan:
        """Return the plan of system-wide mode with this split: it is what `open_system` has to be given."""
        match self.mode:
            case SplitMode.OFF:
                return plan
            case SplitMode.EXCLUDE:
                return attrs.evolve(plan, outside=(*plan.outside, *self.routes))
            case SplitMode.INCLUDE if self.by_mark:
                return attrs.evolve(plan, routes=EVERYWHERE, everything=False, guard_dns=not self.asks_outside)
            case SplitMode.INCLUDE:
                return attrs.evolve(plan, routes=self.routes, guard_dns=False)


def _list(key: str, value: Any) -> tuple[Any, ...]:
    texts = (str, int) if key == "users" else str
    if not isinstance(value, list | tuple) or any(not isinstance(one, texts) or one is True for one in value):
        raise ConfigError(f'split: {key}: must be a list of texts, such as ["…", "…"]')
    return tuple(value)
