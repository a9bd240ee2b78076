"""What every source has in common: it shows what it would do, and does it when it is told to."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import attrs

from pharos.caravel.login import Begun, Method
from pharos.caravel.managed import Managed
from pharos.caravel.profiles.confs import KeptConf
from pharos.caravel.profiles.links import KeptLink
from pharos.caravel.profiles.store import Enrolled
from pharos.caravel.profiles.unlocking import Unlocking
from pharos.wire.reality.options import DEFAULT_OPTIONS, DialOptions


class SourceKind(enum.Enum):
    """What a source is; managed devices allow some of them."""

    TICKET = "ticket"
    """An invitation for one device."""
    LOGIN = "login"
    """A fleet's link, for whoever has an account there."""
    DEVICE = "device"
    """A whole device, in a file."""
    LINKS = "links"
    """`vless://` links, one or many."""
    CONF = "conf"
    """A configuration of AmneziaWG or WireGuard."""
    COLLECTION = "collection"
    """Links and configurations, in a file."""
    SEALED = "sealed"
    """A file that nobody has opened yet."""


@attrs.frozen(kw_only=True)
class Preview:
    """What a person is shown before anything happens; no network was asked for it, and nothing secret is in it."""

    kind: SourceKind
    title: str
    """What it is, in a few words."""
    fleet: str = ""
    """Id of the fleet that one would join."""
    words: str = ""
    """Of that fleet: whoever runs it sees the same ones."""
    items: tuple[str, ...] = ()
    """What would be kept: a line for each link or configuration."""
    does: str
    """What taking it would do, as a sentence."""
    secret: bool = True
    """Whether whoever sees it can use it."""
    warnings: tuple[str, ...] = ()
    """Sentences."""


class Answers(Protocol):
    """What a login wants to know of a person, or tells one."""

    method: Method

    async def email(self) -> str:
        """Not asked for with OIDC."""
        ...

    async def passphrase(self, trouble: str) -> str | None:
        """Asked again with the ``trouble`` there was; None gives up."""
        ...

    async def show(self, begun: Begun) -> None:
        """A code is to be confirmed elsewhere."""
        ...


@attrs.frozen(kw_only=True)
class Choices:
    """How a source is taken. What a kind of source has no use for is not looked at."""

    name: str | None = None
    """Of the link or configuration here."""
    replace: bool = False
    """Another of that name."""
    device_name: str = ""
    """Of this device in a fleet; empty: as the ticket says, or the host's name."""
    options: DialOptions | None = None
    """Of links; None: as the file says, or the usual ones."""
    answers: Answers | None = None
    managed: Managed | None = None
    """What the organisation allows, if this device is an organisation's."""
    unlocking: Unlocking | None = None
    """Of the store."""

    def dial_options(self) -> DialOptions:
        """Return the options of links whose source says nothing of them."""
        return DEFAULT_OPTIONS if self.options is None else self.options


@attrs.frozen(kw_only=True)
class Taken:
    """What came of a source."""

    kind: SourceKind
    enrolled: Enrolled | None = None
    """The device that this is now."""
    links: tuple[KeptLink, ...] = ()
    confs: tuple[KeptConf, ...] = ()


class Source(Protocol):
    """Something that was read and not yet acted upon."""

    @property
    def kind(self) -> SourceKind: ...

    def preview(self) -> Preview:
        """Return what it is and would do; has no effect, and asks no network."""
        ...

    async def take(self, path: Path, choices: Choices) -> Taken:
        """Do it, in the state directory ``path``.

        Raises: ManagedError, AlreadyEnrolledError, LinkNameTakenError, LinkFormatError, ParameterError, BundleError,
        SourceError; over the network also NoAnswerError, HelmRefusedError, PeerRejectedError.
        """
        ...


Asks = Callable[[Preview], Awaitable[bool]]
"""Shows a preview and returns whether a person wants it."""
