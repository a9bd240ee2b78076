"""The states of a connection, and what leads from one to the next (RFC 9293 §3.3.2, figure 5)."""

from __future__ import annotations

import enum
from typing import Final

from pharos.wire.errors import LocalProtocolError


class State(enum.Enum):
    """As RFC 9293 §3.3.2 names them; LISTEN is no connection's yet, but its listener's."""

    SYN_SENT = "SYN-SENT"
    SYN_RECEIVED = "SYN-RECEIVED"
    ESTABLISHED = "ESTABLISHED"
    FIN_WAIT_1 = "FIN-WAIT-1"
    FIN_WAIT_2 = "FIN-WAIT-2"
    CLOSE_WAIT = "CLOSE-WAIT"
    CLOSING = "CLOSING"
    LAST_ACK = "LAST-ACK"
    TIME_WAIT = "TIME-WAIT"
    CLOSED = "CLOSED"


class Step(enum.Enum):
    """What happens to a connection that its state depends on."""

    RECEIVED_SYN_ACK = "SYN of the peer, and ours is acknowledged"
    RECEIVED_SYN = "SYN of the peer alone: both have dialled"
    RECEIVED_ACK_OF_SYN = "our SYN is acknowledged"
    SENT_FIN = "our FIN is sent"
    RECEIVED_ACK_OF_FIN = "our FIN is acknowledged"
    RECEIVED_FIN = "all that the peer sent is here, and its FIN"
    WAITED = "twice the longest life of a segment is over"
    ENDED = "reset, aborted, given up"


TRANSITIONS: Final[dict[tuple[State, Step], State]] = {
    (State.SYN_SENT, Step.RECEIVED_SYN_ACK): State.ESTABLISHED,
    (State.SYN_SENT, Step.RECEIVED_SYN): State.SYN_RECEIVED,
    (State.SYN_RECEIVED, Step.RECEIVED_ACK_OF_SYN): State.ESTABLISHED,
    (State.ESTABLISHED, Step.SENT_FIN): State.FIN_WAIT_1,
    (State.ESTABLISHED, Step.RECEIVED_FIN): State.CLOSE_WAIT,
    (State.FIN_WAIT_1, Step.RECEIVED_ACK_OF_FIN): State.FIN_WAIT_2,
    (State.FIN_WAIT_1, Step.RECEIVED_FIN): State.CLOSING,
    (State.FIN_WAIT_2, Step.RECEIVED_FIN): State.TIME_WAIT,
    (State.CLOSE_WAIT, Step.SENT_FIN): State.LAST_ACK,
    (State.CLOSING, Step.RECEIVED_ACK_OF_FIN): State.TIME_WAIT,
    (State.LAST_ACK, Step.RECEIVED_ACK_OF_FIN): State.CLOSED,
    (State.TIME_WAIT, Step.WAITED): State.CLOSED,
    (State.FIN_WAIT_2, Step.WAITED): State.CLOSED,
    **{(state, Step.ENDED): State.CLOSED for state in State},
}
"""Of a FIN-WAIT-2 that nobody reads any more the end is that of TIME-WAIT (as RFC 9293 §3.9.1 lets it be bounded)."""

SYNCHRONIZED: Final = frozenset(State) - {State.SYN_SENT, State.SYN_RECEIVED, State.CLOSED}
"""Both ends know each other's sequence numbers."""
SENDING: Final = frozenset({State.ESTABLISHED, State.CLOSE_WAIT})
"""New data may be sent."""
RECEIVING: Final = frozenset({State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2})
"""New data may come."""


def following(state: State, step: Step) -> State:
    """Return the state that comes next. Raises: LocalProtocolError — none does, which is a bug of ours."""
    try:
        return TRANSITIONS[state, step]
    except KeyError:
        raise LocalProtocolError(f"TCP in {state.value}: {step.value}") from None
