"""One task at a time, where two would mix up what they do."""

import trio


class Turn:
    """A context that only one task can be in; others are told, as Trio's own streams tell them."""

    __slots__ = ("_what", "taken")

    def __init__(self, what: str) -> None:
        self._what = what
        self.taken = False

    def __enter__(self) -> None:
        """Raises: trio.BusyResourceError — another task is in it."""
        if self.taken:
            raise trio.BusyResourceError(f"another task is {self._what}")
        self.taken = True

    def __exit__(self, *_: object) -> None:
        self.taken = False
