"""The keyring of the desktop or operating system, where there is a real one: it gives a key to its user's session only.

`keyring` is imported when a store is made or its key is kept there, and not before: it looks at every backend that is
installed, which takes a fifth of a second.
"""

from __future__ import annotations

import base64
import logging
from typing import Any, Final, Protocol

from pharos.caravel.errors import LockedStoreError

log = logging.getLogger(__name__)

SERVICE: Final = "pharos-caravel"
REAL: Final = (
    "keyring.backends.SecretService",
    "keyring.backends.libsecret",
    "keyring.backends.kwallet",
    "keyring.backends.macOS",
    "keyring.backends.Windows",
)
"""Modules of backends that encrypt. Others write files in the clear, or are nobody's but a test's."""


class Keyring(Protocol):
    """Keeps a few secrets by name. Each act may wait for a person, whom the system asks.

    Raises: LockedStoreError — it cannot be reached, or its owner said no.
    """

    def load(self, name: str) -> bytes | None: ...

    def save(self, name: str, secret: bytes) -> None: ...

    def remove(self, name: str) -> None: ...


def find_keyring() -> Keyring | None:
    """Return the keyring of this session; None where there is no real one."""
    try:
        import keyring
        from keyring.backends.chainer import ChainerBackend
    except ImportError:
        return None
    chosen: Any = keyring.get_keyring()
    backends = chosen.backends if isinstance(chosen, ChainerBackend) else [chosen]
    for backend in backends:
        if type(backend).__module__.startswith(REAL):
            return SystemKeyring(backend)
    return None


class SystemKeyring:
    """A backend of `keyring`."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def load(self, name: str) -> bytes | None:
        """Return a secret, None if there is none of that name."""
        try:
            text = self._backend.get_password(SERVICE, name)
            return None if text is None else base64.b64decode(text, validate=True)
        except Exception as error:
            raise _unreachable(error) from error

    def save(self, name: str, secret: bytes) -> None:
        """Keep a secret."""
        try:
            self._backend.set_password(SERVICE, name, base64.b64encode(secret).decode())
        except Exception as error:
            raise _unreachable(error) from error

    def remove(self, name: str) -> None:
        """Forget a secret; one that is not there is forgotten already."""
        if self.load(name) is None:
            return
        try:
            self._backend.delete_password(SERVICE, name)
        except Exception as error:
            raise _unreachable(error) from error


def _unreachable(error: Exception) -> LockedStoreError:
    # Each backend has errors of its own, of libraries that are there or not.
    return LockedStoreError(
        f"the keyring of this session did not do it ({type(error).__name__}: {error}); unlock it, and run this in the"
        " session whose keyring it is"
    )
