"""Handing a message to a service, by apprise. Its URL is a secret: no log, error or answer of ours ever holds it.

apprise is loaded at the first use, in the thread that needs it: with its hundred services it takes half a second and
40 MB, which a fleet that sends no alerts does not have to pay.
"""

from __future__ import annotations

import functools
import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final
from urllib.parse import unquote

from pharos.helm.alerts.message import Message
from pharos.helm.errors import InvalidRequestError

MAX_URL: Final = 2_000
# What one message may have at most, whatever a service says that it takes.
MOST_ROOM: Final = 16_000
# They show something on this machine, at which nobody looks.
LOCAL: Final = frozenset({"blink1", "dbus", "glib", "gnome", "kde", "macosx", "qt", "syslog", "windows"})
_SCHEME: Final = re.compile(r"([A-Za-z0-9]+)://.", re.DOTALL)
# Above every level there is.
_NEVER: Final = logging.CRITICAL + 1
# Shorter pieces of a URL are no secrets, and would be found in any sentence.
_LEAST_PIECE: Final = 3

Compose = Callable[[int], Message]
"""Makes a message of at most so many characters."""


def service_of(url: str) -> str:
    """Return the scheme of a URL that alerts can be sent to, in lower case; blocks, the first time for half a second.

    Raises: InvalidRequestError — apprise has no such service, or something of the URL is missing. It does not say what
    the URL is.
    """
    found = _SCHEME.match(url)
    if found is None or len(url) > MAX_URL or not url.isprintable():
        raise InvalidRequestError("a target has the URL of a service as apprise knows it, such as jsons://host/path")
    service = found[1].lower()
    if service in LOCAL:
        raise InvalidRequestError(f"{service}:// shows alerts on helm's own machine, where nobody sees them")
    with _said_by_apprise() as said:
        plugin = _instantiate(url)
    if plugin is None:
        why = f": {_without_secrets(url, said[-1])}" if said else ""
        raise InvalidRequestError(f"apprise cannot send to this URL of {service}://{why}")
    return service


def send(url: str, compose: Compose) -> str:
    """Send a message; return why it did not arrive, or an empty string. Blocks for as long as the service likes."""
    with _said_by_apprise() as said:
        plugin = _instantiate(url)
        if plugin is None:
            return "apprise does not know this service any more"
        message = compose(min(plugin.body_maxlen, MOST_ROOM))
        try:
            sent = plugin.notify(
                title=message.title, body=message.body, notify_type=message.tone.value, body_format="text"
            )
        except Exception as error:  # noqa: BLE001 -- what a service's code does wrong ends this try, and nothing else
            # Its text may hold the URL.
            return f"apprise failed with {type(error).__name__}"
    if sent:
        return ""
    return _without_secrets(url, said[-1]) if said else "the service did not take it"


def _instantiate(url: str) -> Any:
    apprise = _apprise()
    asset = apprise.AppriseAsset(
        app_id="Pharos",
        app_desc="Pharos alerts",
        app_url="",
        # It keeps nothing on disk, and a token goes nowhere but where it was meant for.
        storage_mode=apprise.PersistentStoreMode.MEMORY,
        http_redirects=False,
    )
    try:
        return apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=False)
    except Exception:  # noqa: BLE001 -- each service refuses in its own way
        return None


@functools.cache
def _apprise() -> ModuleType:
    """Load apprise and all of its services, and see that what they log goes nowhere."""
    logger = logging.getLogger("apprise")
    logger.setLevel(logging.WARNING)
    logger.addFilter(_CAPTURE)
    # They tell of each request with its path, which is where webhooks have their tokens.
    for name in ("requests", "urllib3"):
        logging.getLogger(name).setLevel(_NEVER)
    with warnings.catch_warnings():
        # It asks for a module that Python is about to drop, and brings another one if there is none.
        warnings.simplefilter("ignore")
        import apprise

        apprise.Apprise.instantiate("json://localhost/")
    return apprise


class _Capture(logging.Filter):
    """Keeps what apprise warns of, for the thread that asked it, and lets nothing through to any handler."""

    def __init__(self) -> None:
        super().__init__()
        self.of_thread: Final = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        said: list[str] | None = getattr(self.of_thread, "said", None)
        if said is not None:
            said.append(record.getMessage())
        return False


_CAPTURE: Final = _Capture()


@contextmanager
def _said_by_apprise() -> Iterator[list[str]]:
    said: list[str] = []
    _CAPTURE.of_thread.said = said
    try:
        yield said
    finally:
        _CAPTURE.of_thread.said = None


def _without_secrets(url: str, text: str) -> str:
    """Return what apprise said without any piece of the URL: in half of all services the host is the token."""
    rest = url.partition("://")[2]
    pieces = {piece for whole in (rest, unquote(rest)) for piece in re.split(r"[^\w.-]+", whole)}
    pieces |= {part for piece in pieces for part in re.split(r"\W+", piece)}
    for piece in sorted(pieces, key=len, reverse=True):
        if len(piece) >= _LEAST_PIECE:
            text = text.replace(piece, "***")
    return "".join(sign if sign.isprintable() else " " for sign in text).strip()
