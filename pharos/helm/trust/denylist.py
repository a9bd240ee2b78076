"""The signed deny list of the moment: made once for each version, and given to everybody as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from pharos.helm.ca.authority import Authority
from pharos.helm.store.database import Database, Store
from pharos.helm.store.denials import deny_list, deny_order
from pharos.wire.seal.denylist import sign_deny_list

if TYPE_CHECKING:
    from pharos.helm.ca.live import LiveAuthority


@attrs.frozen(kw_only=True)
class SignedDenyList:
    """A list as members take it."""

    order: tuple[int, int]
    """(epoch, version); zeros for none."""
    blob: bytes = attrs.field(repr=False)
    """Empty for none."""


NO_DENY_LIST = SignedDenyList(order=(0, 0), blob=b"")


async def current_deny_list(store: Store, authorities: LiveAuthority) -> SignedDenyList:
    """Return the newest list; a thousand links may ask after each commit, and one of them pays.

    Raises: BusyError, DatabaseCorruptError.
    """
    return await authorities.deny_lists.current(store, authorities.current)


def sign_current(db: Database, authority: Authority) -> SignedDenyList:
    """Return the newest list, signed by the authority."""
    newest = deny_order(db)
    if newest.version == 0:
        return NO_DENY_LIST
    return SignedDenyList(order=newest.order, blob=sign_deny_list(deny_list(db), signing_key=authority.signing))


@attrs.define(eq=False)
class DenyLists:
    """Keeps the list that was signed last."""

    _newest: SignedDenyList = NO_DENY_LIST
    _signer: bytes = b""
    _commits: int = -1
    _lock: trio.Lock = attrs.field(factory=trio.Lock)

    async def current(self, store: Store, authority: Authority) -> SignedDenyList:
        """Return the newest list of this store, signed by this authority."""
        signer = bytes(authority.signing.verify_key)
        async with self._lock:
            commits = store.commits
            if (commits, signer) != (self._commits, self._signer):
                newest = await store.read(deny_order)
                if (newest.order, signer) != (self._newest.order, self._signer):
                    self._newest = await store.read(sign_current, authority)
                self._commits, self._signer = commits, signer
            return self._newest
