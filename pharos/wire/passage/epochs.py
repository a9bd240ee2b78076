"""Whether a passage has an inner connection now, and who may begin or end it (passage.md §6). Sans-IO.

An epoch is the life of one inner connection: from the device's first DATA until both sides have said END. Frames come
in order, so epochs need no numbers.

                    device's DATA              one END             the other END
            LIGHT ─────────────────▶ OPEN ─────────────────▶ … ─────────────────▶ LIGHT
"""

import enum
from typing import Final

from pharos.wire.errors import LocalProtocolError, RemoteProtocolError


class State(enum.Enum):
    LIGHT = "light"
    OPEN = "open"
    ENDED_BY_US = "ended by us"
    ENDED_BY_PEER = "ended by the peer"


class Input(enum.Enum):
    SEND_DATA = "send data"
    RECEIVE_DATA = "receive data"
    SEND_END = "send an end"
    RECEIVE_END = "receive an end"


# A pair that is missing is an error: the peer's if it is a RECEIVE, ours otherwise. What comes after our own end was on
# its way before the peer heard of it, and is dropped.
_COMMON: Final[dict[tuple[State, Input], State]] = {
    (State.OPEN, Input.SEND_DATA): State.OPEN,
    (State.OPEN, Input.RECEIVE_DATA): State.OPEN,
    (State.OPEN, Input.SEND_END): State.ENDED_BY_US,
    (State.OPEN, Input.RECEIVE_END): State.ENDED_BY_PEER,
    (State.ENDED_BY_US, Input.RECEIVE_DATA): State.ENDED_BY_US,
    (State.ENDED_BY_US, Input.RECEIVE_END): State.LIGHT,
    (State.ENDED_BY_PEER, Input.SEND_DATA): State.ENDED_BY_PEER,
    (State.ENDED_BY_PEER, Input.SEND_END): State.LIGHT,
}
# Only the device, who is the client inside, begins an epoch: else two beginnings could cross.
DEVICE_TRANSITIONS: Final = _COMMON | {(State.LIGHT, Input.SEND_DATA): State.OPEN}
HELM_TRANSITIONS: Final = _COMMON | {(State.LIGHT, Input.RECEIVE_DATA): State.OPEN}


class Epochs:
    """One side's view; ``device`` tells which side it is."""

    __slots__ = ("_transitions", "state")

    def __init__(self, *, device: bool) -> None:
        self._transitions = DEVICE_TRANSITIONS if device else HELM_TRANSITIONS
        self.state = State.LIGHT

    def step(self, given: Input) -> None:
        """Note what is sent or was received.

        Raises: LocalProtocolError, RemoteProtocolError — it has no place now.
        """
        try:
            self.state = self._transitions[self.state, given]
        except KeyError:
            error = RemoteProtocolError if given in {Input.RECEIVE_DATA, Input.RECEIVE_END} else LocalProtocolError
            raise error(f"passage: cannot {given.value} while the inner connection is “{self.state.value}”") from None
