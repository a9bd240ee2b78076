"""The sign-in that commands use at the desk: a session's cookie or a token, in a file of this device's directory.

The file is sealed as the device's own keys are, and with them alone it is of use: helm
binds a session to the device over whose passage it began.
"""

from __future__ import annotations

import datetime
from typing import Final

import attrs

from pharos.caravel.admin.link import Headers
from pharos.caravel.errors import NotSignedInError
from pharos.caravel.profiles.sealedfile import SealedFile
from pharos.caravel.profiles.store import ProfileStore
from pharos.wire.errors import StateFileError
from pharos.wire.files import sync_directory
from pharos.wire.world import this_world

LIFETIME: Final = datetime.timedelta(hours=12)
"""As long as helm lets a session live; a token kept here is forgotten as soon."""
SESSION_COOKIE: Final = "pharos_session"
CSRF_HEADER: Final = "x-pharos-csrf"


@attrs.frozen(kw_only=True)
class SignedIn:
    """Who commands are at the desk."""

    name: str
    role: str
    until: datetime.datetime
    cookie: str = attrs.field(default="", repr=False)
    csrf: str = attrs.field(default="", repr=False)
    token: str = attrs.field(default="", repr=False)
    """In place of cookie and CSRF."""

    @property
    def headers(self) -> Headers:
        """What shows helm who asks."""
        if self.token:
            return (("authorization", f"Bearer {self.token}"),)
        return (("cookie", f"{SESSION_COOKIE}={self.cookie}"), (CSRF_HEADER, self.csrf))


class KeptSignIn:
    """The file."""

    def __init__(self, store: ProfileStore) -> None:
        remedy = "remove it and sign in again"
        self._file = SealedFile(store.vault, store.path / "desk.json", "pharos/device-desk/v1", remedy)

    def load(self, now: datetime.datetime) -> SignedIn:
        """Return what is kept and has not ended.

        Raises: NotSignedInError. LockedStoreError. StateFileError — the file is damaged.
        """
        body = self._file.load()
        if body is None:
            raise NotSignedInError
        try:
            until = datetime.datetime.fromisoformat(body["until"])
            signed = SignedIn(**(body | {"until": until}))
        except (KeyError, TypeError, ValueError) as error:
            raise StateFileError(f"{self._file.path} is damaged ({error!r}); remove it and sign in again") from error
        if not now < signed.until <= now + LIFETIME:
            self.forget()
            raise NotSignedInError
        return signed

    def save(self, signed: SignedIn) -> None:
        """Keep a sign-in."""
        self._file.save(attrs.asdict(signed) | {"until": signed.until.isoformat()})

    def forget(self) -> None:
        """Remove the file, for good when this returns: whoever signed out is not signed in after a power cut."""
        this_world().unlink(self._file.path, missing_ok=True)
        sync_directory(self._file.path.parent)
