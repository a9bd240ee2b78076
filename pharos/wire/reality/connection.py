"""What both ends of a TLS 1.3 connection have in common: records out, records in, keys, alerts and the end."""

import enum
from collections import deque
from typing import Final, TypeAlias

import attrs

from pharos.wire.errors import LocalProtocolError
from pharos.wire.reality.errors import Alert, AlertReceivedError, RealCertificateError, TlsError
from pharos.wire.reality.messages import MAX_MESSAGE, HandshakeType, MessageBuffer, read_key_update, write_message
from pharos.wire.reality.records import (
    MAX_PLAINTEXT,
    MAX_RECORDS,
    MAX_USELESS,
    ContentType,
    RecordReader,
    RecordWriter,
)
from pharos.wire.reality.suites import Octets

_FATAL: Final = 2
_WARNING: Final = 1


class State(enum.Enum):
    """RFC 8446 §A; a client starts with the first, a node with WAIT_FINISHED."""

    WAIT_SERVER_HELLO = "waits for ServerHello"
    WAIT_ENCRYPTED_EXTENSIONS = "waits for EncryptedExtensions"
    WAIT_CERTIFICATE = "waits for Certificate"
    WAIT_CERTIFICATE_VERIFY = "waits for CertificateVerify"
    WAIT_FINISHED = "waits for Finished"
    CONNECTED = "connected"
    PEER_CLOSED = "the peer has said that it sends no more"
    FAILED = "failed"


@attrs.frozen(kw_only=True)
class HandshakeCompleted:
    """Both ends are who they have to be; application data may go."""

    suite: int
    group: int


@attrs.frozen
class DataReceived:
    """Application data of one record."""

    data: bytes | memoryview


@attrs.frozen
class PeerClosed:
    """The peer sends no more, and said so authentically; we may go on."""


Event: TypeAlias = HandshakeCompleted | DataReceived | PeerClosed


class Connection:
    """One end of a connection, without I/O: octets in and out, events out.

    Opens one record for an event, and none ahead, so that whoever finds in a record that TLS ends here gets what
    follows it as it was received (`take_rest`). After an error only what it left in the output is worth sending.
    """

    def __init__(self, *, state: State, max_useless: int = MAX_USELESS, max_message: int = MAX_MESSAGE) -> None:
        self._state = state
        self._reader = RecordReader(max_useless=max_useless)
        self._writer = RecordWriter()
        self._messages = MessageBuffer(max_message=max_message)
        self._output: list[bytes | bytearray] = []
        self._events: deque[Event] = deque()
        self._update_wanted = False
        self._end_sent = False

    @property
    def state(self) -> State:
        return self._state

    @property
    def buffered(self) -> int:
        """Octets that were received and not opened yet."""
        return self._reader.buffered

    def receive(self, data: Octets) -> None:
        """Take what the peer sent, in pieces of any length."""
        self._reader.feed(data)

    def next_event(self) -> Event | None:
        """Open records up to the next event; None if more has to be received for one.

        Raises:
            TlsError — the peer broke TLS; the output ends with the alert that tells it.
            AlertReceivedError — the peer ended the connection.
            RealCertificateError — the server is not our node; the output is empty.
            LocalProtocolError — it has failed before.
        """
        if self._state is State.FAILED:
            raise LocalProtocolError("the TLS connection has failed before")
        try:
            return self._next_event()
        except TlsError as error:
            self._fail(error.alert)
            raise
        except AlertReceivedError:
            self._state = State.FAILED
            raise
        except RealCertificateError:
            # Whoever it is must learn nothing from us, not even what we think of it.
            self._state = State.FAILED
            self._output.clear()
            raise

    def open_data(self) -> bytearray:
        """Open what is there of application data, before anything else and as far as that goes fast; perhaps nothing.

        For whoever does not care where records end: `next_event` tells of what follows.
        """
        if self._state is not State.CONNECTED or self._events or self._messages:
            return bytearray()
        data = self._reader.open_data()
        if data:
            self._reader.count_useful()
        return data

    def take_output(self) -> bytes | bytearray:
        """Return what has to be sent, in the order in which it has to be."""
        output = self._output[0] if len(self._output) == 1 else b"".join(self._output)
        self._output.clear()
        return output

    def take_rest(self) -> bytes:
        """Give back, and forget, what was received and not opened: for a protocol that goes on without TLS."""
        return self._reader.take_rest()

    def send(self, data: Octets) -> None:
        """Put application data into the output.

        Raises: LocalProtocolError — the handshake is not done, or we have ended our direction.
        """
        self._check_sending()
        records = -(-memoryview(data).nbytes // MAX_PLAINTEXT)
        key = self._writer.key
        if key is not None and (self._update_wanted or key.sequence + records >= MAX_RECORDS):
            self.update_keys(request=False)
        self._output.append(self._writer.application_data(data))

    def send_end(self) -> None:
        """Say, authenticated, that we send no more (close_notify); a second time does nothing.

        Raises: LocalProtocolError — the handshake is not done.
        """
        if not self._end_sent:
            self._check_sending()
            self._end_sent = True
            self._put(ContentType.ALERT, bytes((_WARNING, Alert.CLOSE_NOTIFY)))

    def update_keys(self, *, request: bool) -> None:
        """Go on with our next key, and perhaps ask the peer to do so, too (RFC 8446 §4.6.3).

        Raises: LocalProtocolError — the handshake is not done, or we have ended our direction.
        """
        self._check_sending()
        self._update_wanted = False
        self._put(ContentType.HANDSHAKE, write_message(HandshakeType.KEY_UPDATE, bytes((request,))))
        assert self._writer.key is not None, "connected"
        self._writer.key = self._writer.key.following()

    def _next_event(self) -> Event | None:
        # A client's Finished and its first data may come in one record's octets: what is known is told first.
        while not self._events:
            if self._state is State.PEER_CLOSED:
                # Nothing that follows an end is of it; it need not even be TLS.
                return None
            if (record := self._reader.next_record()) is None:
                return None
            kind, content = record
            if kind == ContentType.APPLICATION_DATA and self._state is State.CONNECTED and not self._messages:
                if content:
                    self._reader.count_useful()
                    return DataReceived(content)
                self._reader.count_useless()
            else:
                self._take_record(kind, content)
        return self._events.popleft()

    def _take_record(self, kind: int, content: bytes | memoryview) -> None:
        if kind == ContentType.HANDSHAKE:
            self._messages.feed(content)
            while (message := self._messages.next_message()) is not None:
                self._take_message(message)
        elif self._messages:
            raise TlsError(Alert.UNEXPECTED_MESSAGE, f"a record of type {kind} interrupts a handshake message")
        elif kind == ContentType.ALERT:
            self._take_alert(bytes(content))
        else:
            raise TlsError(Alert.UNEXPECTED_MESSAGE, f"a record of type {kind} while it {self._state.value}")

    def _take_alert(self, content: bytes) -> None:
        if len(content) != 2:
            raise TlsError(Alert.DECODE_ERROR, f"an alert of {len(content)} octets")
        if content[1] == Alert.CLOSE_NOTIFY and self._state is State.CONNECTED:
            self._state = State.PEER_CLOSED
            self._events.append(PeerClosed())
        elif content[1] == Alert.USER_CANCELED:
            # It says nothing about this connection (§6.1); some stacks send it before close_notify.
            self._reader.count_useless()
        else:
            raise AlertReceivedError(content[1])

    def _take_message(self, message: bytes) -> None:
        """Act on one handshake message; each end extends it by its own."""
        if self._state is State.CONNECTED and message[0] == HandshakeType.KEY_UPDATE:
            self._take_key_update(message)
        else:
            raise TlsError(Alert.UNEXPECTED_MESSAGE, f"a message of type {message[0]} while it {self._state.value}")

    def _take_key_update(self, message: bytes) -> None:
        wanted = read_key_update(message)
        self._check_key_change()
        self._reader.count_useless()
        assert self._reader.key is not None, "connected"
        self._reader.key = self._reader.key.following()
        # Ours has to go before our next data, once, however often it is wanted while we are silent (§4.6.3). A peer
        # that goes on and on wanting it so makes nothing pile up.
        self._update_wanted |= wanted

    def _check_key_change(self) -> None:
        """Raises: TlsError — the record that changes the key holds more than that (§5.1)."""
        if self._messages:
            raise TlsError(Alert.UNEXPECTED_MESSAGE, "handshake messages go on across a change of keys")

    def _check_sending(self) -> None:
        if self._state not in {State.CONNECTED, State.PEER_CLOSED}:
            raise LocalProtocolError(f"cannot send: the TLS connection {self._state.value}")
        if self._end_sent:
            raise LocalProtocolError("cannot send: this direction of the TLS connection has ended")

    def _put(self, kind: ContentType, content: bytes, *, size: int = 0) -> None:
        if self._writer.key is None:
            self._output.append(self._writer.plain(kind, content))
        else:
            self._output.append(self._writer.sealed(kind, content, size=size))

    def _fail(self, alert: Alert) -> None:
        self._state = State.FAILED
        if not self._end_sent:
            self._put(ContentType.ALERT, bytes((_FATAL, alert)))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state.name}>"
