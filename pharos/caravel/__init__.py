"""caravel: the client. An embeddable library with a command on top of it.

What programs need is here by name, and is imported when it is first used: to have caravel aboard costs a program
nothing before it connects (docs/guide/embedding.md).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pharos.caravel import errors as errors
    from pharos.caravel import events as events
    from pharos.caravel.client import Client as Client
    from pharos.caravel.client import open_client as open_client
    from pharos.caravel.enrolment import enroll as enroll
    from pharos.caravel.profiles.store import ProfileStore as ProfileStore
    from pharos.caravel.sources.read import read_source as read_source
    from pharos.caravel.tunnel.keptways import open_kept as open_kept
    from pharos.caravel.tunnel.session import Tunnel as Tunnel
    from pharos.wire.seal.ticket import TicketLink as TicketLink

_HOMES: Final = {
    "Client": "pharos.caravel.client",
    "ProfileStore": "pharos.caravel.profiles.store",
    "TicketLink": "pharos.wire.seal.ticket",
    "Tunnel": "pharos.caravel.tunnel.session",
    "enroll": "pharos.caravel.enrolment",
    "open_client": "pharos.caravel.client",
    "open_kept": "pharos.caravel.tunnel.keptways",
    "read_source": "pharos.caravel.sources.read",
}
"""In which module each name is."""
_MODULES: Final = frozenset({"errors", "events"})

__all__ = [
    "Client",
    "ProfileStore",
    "TicketLink",
    "Tunnel",
    "enroll",
    "errors",
    "events",
    "open_client",
    "open_kept",
    "read_source",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for (PEP 562)."""
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
