"""What can go wrong in a demo."""

from pharos.wire.errors import WireError


class DemoError(WireError):
    """A step of the demo did not hold."""
