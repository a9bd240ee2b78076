"""The Noise handshake as a state machine: messages in, messages out, two ciphers at the end (rev 34 §5.3)."""

import enum
from collections.abc import Callable, Sequence
from typing import Final

from pharos.wire.errors import LocalProtocolError, RemoteProtocolError
from pharos.wire.noise.keys import KEY_LENGTH, KeyPair
from pharos.wire.noise.patterns import Token, parse_protocol_name
from pharos.wire.noise.symmetric import MAX_MESSAGE, TAG_LENGTH, CipherState, SymmetricState

PSK_LENGTH: Final = 32


class State(enum.Enum):
    WRITING = "our turn"
    READING = "the peer's turn"
    FINISHED = "all messages exchanged"
    SPLIT = "transport ciphers given out"
    FAILED = "a message could not be made or read"


class Input(enum.Enum):
    WRITE = "write a message"
    WRITE_LAST = "write the last message"
    READ = "read a message"
    READ_LAST = "read the last message"
    SPLIT = "take the transport ciphers"


# A pair that is missing is an error: the peer's if it is a READ, ours otherwise. While a message is being worked on
# the state is FAILED, so a handshake that raised half-way can never be used again.
TRANSITIONS: Final[dict[tuple[State, Input], State]] = {
    (State.WRITING, Input.WRITE): State.READING,
    (State.WRITING, Input.WRITE_LAST): State.FINISHED,
    (State.READING, Input.READ): State.WRITING,
    (State.READING, Input.READ_LAST): State.FINISHED,
    (State.FINISHED, Input.SPLIT): State.SPLIT,
}


class Handshake:
    """One side of one handshake; use it once.

    ``generate`` makes the ephemeral key, as randomness is the caller's. ``psks`` come in the order in which the pattern
    mixes them. ``remote_static`` is given if the pattern takes it as known, and else learnt from the handshake.

    Raises: LocalProtocolError — unknown pattern, or keys missing, needless or of a wrong length for it.
    """

    def __init__(
        self,
        pattern_name: str,
        *,
        initiator: bool,
        prologue: bytes = b"",
        static: KeyPair | None = None,
        remote_static: bytes | None = None,
        psks: Sequence[bytes] = (),
        generate: Callable[[], KeyPair],
    ) -> None:
        pattern = parse_protocol_name(pattern_name)
        remote_known = pattern.responder_known if initiator else pattern.initiator_known
        static_used = pattern.needs_static(initiator=initiator)
        if (static is not None) is not static_used:
            raise LocalProtocolError(f"{pattern_name}: our static key is {'missing' if static_used else 'needless'}")
        if (remote_static is not None) is not remote_known:
            raise LocalProtocolError(
                f"{pattern_name}: the peer's static key is {'missing' if remote_known else 'needless'}"
            )
        if remote_static is not None and len(remote_static) != KEY_LENGTH:
            raise LocalProtocolError(f"a static key has {KEY_LENGTH} octets, not {len(remote_static)}")
        if len(psks) != pattern.psks or any(len(psk) != PSK_LENGTH for psk in psks):
            raise LocalProtocolError(f"{pattern_name} takes {pattern.psks} pre-shared keys of {PSK_LENGTH} octets")
        self._initiator = initiator
        self._messages = pattern.messages
        self._turn = 0
        self._state = State.WRITING if initiator else State.READING
        self._static = static
        self._ephemeral: KeyPair | None = None
        self._remote_static = remote_static
        self._remote_ephemeral: bytes | None = None
        self._psks = list(psks)
        self._mixes_ephemerals = bool(psks)
        self._generate = generate
        self._symmetric = SymmetricState(pattern_name)
        self._symmetric.mix_hash(prologue)
        if pattern.initiator_known:
            self._symmetric.mix_hash(self._public(of_initiator=True))
        if pattern.responder_known:
            self._symmetric.mix_hash(self._public(of_initiator=False))

    @property
    def state(self) -> State:
        return self._state

    @property
    def finished(self) -> bool:
        """True when every message has been exchanged, so that ``split`` may be called."""
        return self._state in {State.FINISHED, State.SPLIT}

    @property
    def remote_static(self) -> bytes | None:
        """The peer's static public key, once known.

        Authentic only as far as the pattern's authentication property at that point says (§7.7): in the first
        message of IK anybody may replay it.
        """
        return self._remote_static

    @property
    def handshake_hash(self) -> bytes:
        """The transcript hash, equal on both sides and unique: for channel binding (§11.2).

        Raises: LocalProtocolError — the handshake is not finished.
        """
        if not self.finished:
            raise LocalProtocolError("the handshake is not finished")
        return self._symmetric.transcript

    def write(self, payload: bytes = b"") -> bytes:
        """Make our next message around ``payload``; the pattern decides how well it is protected (§7.7).

        Raises:
            LocalProtocolError — not our turn, or longer than 65,535 octets.
            RemoteProtocolError — the peer's key is a point of low order.
        """
        following = self._following(Input.WRITE_LAST if self._is_last else Input.WRITE)
        self._state = State.FAILED
        message = bytearray()
        for token in self._messages[self._turn]:
            if token is Token.E:
                self._ephemeral = self._generate()
                message += self._ephemeral.public
                self._mix_ephemeral(self._ephemeral.public)
            elif token is Token.S:
                message += self._symmetric.encrypt_and_hash(self._own_static.public)
            else:
                self._mix(token)
        message += self._symmetric.encrypt_and_hash(payload)
        if len(message) > MAX_MESSAGE:
            raise LocalProtocolError(f"a Noise message has at most {MAX_MESSAGE} octets")
        self._advance(following)
        return bytes(message)

    def read(self, message: bytes) -> bytes:
        """Take the peer's next message and return its payload.

        Raises:
            DecryptError — it is not authentic.
            RemoteProtocolError — out of turn, of an impossible length, or with a point of low order.
        """
        following = self._following(Input.READ_LAST if self._is_last else Input.READ)
        self._state = State.FAILED
        if len(message) > MAX_MESSAGE:
            raise RemoteProtocolError(f"a Noise message has at most {MAX_MESSAGE} octets")
        rest = message
        for token in self._messages[self._turn]:
            if token is Token.E:
                self._remote_ephemeral, rest = _cut(rest, KEY_LENGTH)
                self._mix_ephemeral(self._remote_ephemeral)
            elif token is Token.S:
                sealed, rest = _cut(rest, KEY_LENGTH + self._tag_length)
                self._remote_static = self._symmetric.decrypt_and_hash(sealed)
            else:
                self._mix(token)
        _cut(rest, self._tag_length)
        payload = self._symmetric.decrypt_and_hash(rest)
        self._advance(following)
        return payload

    def split(self) -> tuple[CipherState, CipherState]:
        """Give the transport ciphers as (send, receive), once.

        After a one-way pattern only the initiator may send (§7.4): its receiving cipher, and the responder's sending
        one, must not be used.

        Raises: LocalProtocolError — not finished, or already given out.
        """
        self._state = self._following(Input.SPLIT)
        from_initiator, from_responder = self._symmetric.split()
        return (from_initiator, from_responder) if self._initiator else (from_responder, from_initiator)

    @property
    def _is_last(self) -> bool:
        return self._turn == len(self._messages) - 1

    @property
    def _tag_length(self) -> int:
        return TAG_LENGTH if self._symmetric.cipher.has_key else 0

    @property
    def _own_static(self) -> KeyPair:
        assert self._static is not None, "the constructor saw to it"
        return self._static

    def _following(self, given: Input) -> State:
        try:
            return TRANSITIONS[self._state, given]
        except KeyError:
            error = RemoteProtocolError if given in {Input.READ, Input.READ_LAST} else LocalProtocolError
            raise error(f"Noise handshake: cannot {given.value} in state “{self._state.value}”") from None

    def _advance(self, following: State) -> None:
        self._turn += 1
        self._state = following
        if self.finished:
            self._ephemeral = None

    def _public(self, *, of_initiator: bool) -> bytes:
        if of_initiator is self._initiator:
            return self._own_static.public
        assert self._remote_static is not None, "the constructor saw to it"
        return self._remote_static

    def _mix_ephemeral(self, public: bytes) -> None:
        self._symmetric.mix_hash(public)
        if self._mixes_ephemerals:
            # With a psk the ephemeral also enters the key, so that a psk used twice never meets an equal key (§9.2).
            self._symmetric.mix_key(public)

    def _mix(self, token: Token) -> None:
        if token is Token.PSK:
            self._symmetric.mix_key_and_hash(self._psks.pop(0))
            return
        # "es" is initiator's ephemeral with responder's static; seen from the responder it is static with ephemeral.
        ours_is_static = token is Token.SS or token is (Token.SE if self._initiator else Token.ES)
        theirs_is_static = token is Token.SS or token is (Token.ES if self._initiator else Token.SE)
        ours = self._own_static if ours_is_static else self._ephemeral
        theirs = self._remote_static if theirs_is_static else self._remote_ephemeral
        assert ours is not None, "patterns send a key before they use it (§7.3)"
        assert theirs is not None, "patterns send a key before they use it (§7.3)"
        self._symmetric.mix_key(ours.exchange(theirs))

    def __repr__(self) -> str:
        return f"<Handshake {'initiator' if self._initiator else 'responder'} {self._state.name}>"


def _cut(data: bytes, length: int) -> tuple[bytes, bytes]:
    if len(data) < length:
        raise RemoteProtocolError("the Noise message is too short for its pattern")
    return data[:length], data[length:]
