"""Why an act was not done.

WireError
├── ActRefusedError     it is none of those that are done here; nothing was touched
└── ActFailedError      the machine would not
"""

from pharos.wire.errors import WireError


class ActRefusedError(WireError):
    """The root helper does no such thing; nothing was touched."""


class ActFailedError(WireError):
    """The machine would not do it; the message holds what its own tool said."""
