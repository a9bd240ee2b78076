"""Listening fails in one sentence that names the address."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from pharos.wire.errors import AddressError

_WAYS_OUT = {
    errno.EADDRINUSE: "stop what uses it, or choose another port",
    errno.EACCES: "ports below 1024 take root or CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}


@contextmanager
def naming_address(host: str, port: int, transport: str) -> Iterator[None]:
    """Raise what goes wrong in the block as an error that says where we wanted to listen.

    Raises: AddressError — which is an OSError too, with the number of the one it stands for.
    """
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        way_out = _WAYS_OUT.get(error.errno or 0, "choose another address")
        raised = AddressError(f"cannot listen on {host}, {transport} port {port}: {why}; {way_out}")
        raised.errno = error.errno
        raise raised from error
