"""A site's answer to a browser's hello, judged as what a node would have to borrow."""

from __future__ import annotations

from typing import Final

import attrs

from pharos.wire.reality.auth import Admitted, Mark
from pharos.wire.reality.certificate import NodeSigner
from pharos.wire.reality.draws import Random
from pharos.wire.reality.errors import Alert, AlertReceivedError, TargetError, TlsError
from pharos.wire.reality.flight import FlightRecorder, TargetFlight
from pharos.wire.reality.groups import SECP256R1, SECP384R1, SECP521R1, SERVER_SHARE, X25519, X25519MLKEM768
from pharos.wire.reality.hello import ClientHello
from pharos.wire.reality.messages import MessageBuffer
from pharos.wire.reality.records import ContentType, RecordReader
from pharos.wire.reality.server import ServerConnection
from pharos.wire.reality.serverhello import ServerHello, read_server_hello
from pharos.wire.reality.targetreport import Check, Finding, Verdict

_GROUP_NAMES: Final = {
    X25519: "X25519",
    X25519MLKEM768: "X25519MLKEM768",
    SECP256R1: "P-256",
    SECP384R1: "P-384",
    SECP521R1: "P-521",
}
_SEED: Final = 32
_NOBODY: Final = Admitted(auth_key=bytes(32), mark=Mark.decode(bytes(16)))


@attrs.frozen(kw_only=True)
class Answer:
    """All that one hello tells."""

    findings: tuple[Finding, ...]
    group: int | None = None
    """In which it answers; None where that was not to be learnt."""
    suite: int | None = None
    records: tuple[int, ...] = ()
    """Octets of the encrypted records."""

    @property
    def is_tls13(self) -> bool:
        return all(f.check is not Check.TLS13 or f.verdict is not Verdict.FORBIDS for f in self.findings)


class AnswerReader:
    """Reads along what a site answers to one hello, until a node would know what to do.

    ``max_flight``: octets of encrypted records that a node borrows.
    """

    def __init__(self, hello: ClientHello, *, max_flight: int, random: Random) -> None:
        self._hello = hello
        self._name = hello.server_name or ""
        self._max_flight = max_flight
        self._random = random
        self._reader, self._messages = RecordReader(), MessageBuffer()
        self._recorder = FlightRecorder()
        self._server_hello: ServerHello | None = None
        self._received = b""
        self._findings: list[Finding] = []

    def feed(self, data: bytes) -> Answer | None:
        """Take the site's octets as they come; returns the verdict once there is one."""
        if self._server_hello is None:
            self._received += data
            try:
                hello = self._read_server_hello(data)
            except AlertReceivedError as error:
                return self._forbid(Check.TLS13, f"refuses a browser's hello by alert {_alert_name(error.description)}")
            except TlsError as error:
                return self._forbid(Check.TLS13, _no_tls13(error))
            if hello is None:
                return None
            self._add(Check.TLS13, Verdict.GOOD, "speaks TLS 1.3")
            self._server_hello, data = hello, self._received
            if hello.is_retry:
                return self._forbid(
                    Check.NO_RETRY, f"asks a browser for another hello, with {_group_name(hello.group)}"
                )
            self._add(Check.NO_RETRY, Verdict.GOOD, "takes a browser's first hello")
            if hello.group not in SERVER_SHARE:
                return self._forbid(Check.KEY_EXCHANGE, f"answers in {_group_name(hello.group)} and not in X25519")
        try:
            flight = self._recorder.feed(data)
        except TargetError as error:
            return self._forbid(Check.RECORDS, f"cannot be borrowed: {error}")
        return None if flight is None else self._judge(flight)

    def end(self, why: str) -> Answer:
        """Give the verdict where nothing more comes; ``why`` says what ended it, as a finding does."""
        return self._forbid(Check.TLS13 if self._server_hello is None else Check.RECORDS, why)

    def _read_server_hello(self, data: bytes) -> ServerHello | None:
        self._reader.feed(data)
        while (record := self._reader.next_record()) is not None:
            kind, content = record
            if kind == ContentType.ALERT and len(content) == 2:
                raise AlertReceivedError(content[1])
            if kind != ContentType.HANDSHAKE:
                raise TlsError(Alert.UNEXPECTED_MESSAGE, f"it begins with a record of type {kind}")
            self._messages.feed(content)
            if (message := self._messages.next_message()) is not None:
                return read_server_hello(message)
        return None

    def _judge(self, flight: TargetFlight) -> Answer:
        try:
            flight.check(self._hello)
        except TargetError as error:
            return self._forbid(Check.KEY_EXCHANGE, f"cannot be borrowed: {error}")
        group = flight.server_hello.group
        self._add(Check.KEY_EXCHANGE, Verdict.GOOD, f"answers in {_group_name(group)}")
        self._judge_records(flight)
        return self._answer(flight)

    def _judge_records(self, flight: TargetFlight) -> None:
        octets, shape = sum(flight.records), _shape(flight.records)
        if octets > self._max_flight:
            why = f"sends {shape}, together more than the {self._max_flight:,} that a node borrows"
            self._add(Check.RECORDS, Verdict.FORBIDS, why)
            return
        try:
            self._try(flight, NodeSigner(self._random(_SEED)))
        except TargetError as error:
            self._add(Check.RECORDS, Verdict.FORBIDS, f"sends {shape}, too little: {error}")
            return
        self._add(Check.RECORDS, Verdict.GOOD, f"sends {shape}, which hold a node's")
        try:
            self._try(flight, NodeSigner(self._random(_SEED), mldsa65_seed=self._random(_SEED)))
        except TargetError:
            self._add(Check.MLDSA65_ROOM, Verdict.NOTE, "leaves no room for certificates signed with ML-DSA-65")
        else:
            self._add(Check.MLDSA65_ROOM, Verdict.GOOD, "leaves room for certificates signed with ML-DSA-65")

    def _try(self, flight: TargetFlight, signer: NodeSigner) -> None:
        """Do as a node would do for a device. Raises: TargetError."""
        ServerConnection(self._hello, _NOBODY, flight, signer, random=self._random)

    def _forbid(self, check: Check, text: str) -> Answer:
        self._add(check, Verdict.FORBIDS, text)
        return self._answer()

    def _answer(self, flight: TargetFlight | None = None) -> Answer:
        hello = self._server_hello
        return Answer(
            findings=tuple(self._findings),
            group=None if hello is None else hello.group,
            suite=None if hello is None else hello.suite,
            records=() if flight is None else flight.records,
        )

    def _add(self, check: Check, verdict: Verdict, text: str) -> None:
        self._findings.append(Finding(check, verdict, text, name=self._name))


def _no_tls13(error: TlsError) -> str:
    if error.alert is Alert.PROTOCOL_VERSION:
        return "speaks an older TLS than 1.3"
    return f"does not answer in TLS: {error}"


def _shape(records: tuple[int, ...]) -> str:
    if len(records) == 1:
        return f"its handshake in one record of {records[0]:,} octets"
    *most, last = (f"{octets:,}" for octets in records)
    return f"its handshake in {len(records)} records of {', '.join(most)} and {last} octets"


def _group_name(group: int | None) -> str:
    if group is None:
        return "a cookie"
    return _GROUP_NAMES.get(group, f"group {group:#06x}")


def _alert_name(description: int) -> str:
    return f"{description} ({Alert(description).name.lower()})" if description in set(Alert) else str(description)
