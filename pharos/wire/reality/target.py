"""Looks at a site as whoever chooses one for a node has to: can a node stand before it, and would that be seen?

It is visited by a browser's hello, read as a node reads it, and by the standard library's TLS, which judges the
certificate. No HTTP is sent, so that no redirect is followed and nothing is fetched.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Iterable
from typing import Final

import attrs
import trio

from pharos.wire.reality.draws import Random
from pharos.wire.reality.flight import MAX_FLIGHT
from pharos.wire.reality.groups import X25519, X25519MLKEM768
from pharos.wire.reality.hello import SESSION_ID_LENGTH, read_client_hello
from pharos.wire.reality.offer import make_offer
from pharos.wire.reality.params import check_server_names, split_target
from pharos.wire.reality.parrots import CHROME
from pharos.wire.reality.records import ContentType, RecordWriter
from pharos.wire.reality.routing import IpAddress, Routes
from pharos.wire.reality.targetanswer import Answer, AnswerReader
from pharos.wire.reality.targetreport import Check, Finding, TargetReport, Verdict
from pharos.wire.units import MILLISECONDS, SECONDS
from pharos.wire.world import random_bytes

PORT: Final = 443
MAX_ADDRESSES: Final = 16
"""That are tried. Large sites have eight of each family, and where one family is not to be had it fails at once."""
MAX_ANSWER: Final = 2**15
"""Octets of an answer that are read; a ServerHello and a flight that a node borrows are below 10,000."""
SLOW: Final = 200 * MILLISECONDS
"""A round trip above which devices feel that each of their handshakes waits for it."""
_CHUNK: Final = 2**14
_ALPN: Final = ("h2", "http/1.1")


@attrs.frozen(kw_only=True)
class CheckLimits:
    """In seconds."""

    connect: float = 4 * SECONDS
    """One address: TCP's second and third try come after 1 s and 3 s."""
    visit: float = 4 * SECONDS
    """One connection, from its first octet on."""
    whole: float = 15 * SECONDS
    """All of it: a command waits 30 s for its answer, of which helm may take 10 to dial the node that looks."""


async def check_target(
    host: str,
    port: int = PORT,
    names: Iterable[str] = (),
    *,
    only_public: bool = False,
    routes: Routes | None = None,
    trust: ssl.SSLContext | None = None,
    random: Random = random_bytes,
    limits: CheckLimits | None = None,
) -> TargetReport:
    """Visit a site, a few times for each of the ``names`` (default: the host's own), and report.

    With ``only_public`` nothing is sent to an address that ``routes`` do not permit, by default those of the Internet;
    otherwise it is a warning. ``trust``: by which a certificate is judged, the system's if None.

    Raises: ParameterError — host, port or a name is none.
    """
    split_target(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    served = check_server_names(tuple(names) or (host,))
    limits = limits or CheckLimits()
    visitor = _Visitor(trust or ssl.create_default_context(), random, limits)
    scouting = _Scouting(host, port, routes or Routes(), only_public)
    with trio.move_on_after(limits.whole) as scope:
        if await scouting.find(visitor):
            await visitor.look(served)
    findings = [*scouting.findings, *visitor.findings]
    if scope.cancelled_caught:
        why = "takes no connection" if visitor.address is None else "does not finish a few handshakes"
        findings.append(Finding(Check.REACHABLE, Verdict.FORBIDS, f"{why} within {limits.whole:g} s"))
    order = list(Check)
    return TargetReport(
        host=host,
        port=port,
        names=served,
        findings=tuple(sorted(findings, key=lambda finding: order.index(finding.check))),
        address="" if visitor.address is None else str(visitor.address[0]),
        round_trip=scouting.round_trip,
    )


class _Scouting:
    """The way to a site: its addresses, and which of them answers."""

    def __init__(self, host: str, port: int, routes: Routes, only_public: bool) -> None:
        self._host, self._port = host, port
        self._routes = routes
        self._only_public = only_public
        self.findings: list[Finding] = []
        self.round_trip: float | None = None

    async def find(self, visitor: _Visitor) -> bool:
        """Give the visitor an address that takes connections; says whether there is one."""
        try:
            found = await trio.socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError as error:
            self._add(Check.REACHABLE, Verdict.FORBIDS, f"has no address: {error.strerror or error}")
            return False
        # A zone means an interface of ours; such an address is link-local anyway.
        texts = dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found)
        addresses = [ipaddress.ip_address(text) for text in texts]
        if not self._judge(addresses):
            return False
        failure = "nobody answers"
        for address in addresses[:MAX_ADDRESSES]:
            before = trio.current_time()
            try:
                with trio.fail_after(visitor.limits.connect):
                    stream = await trio.open_tcp_stream(str(address), self._port)
            except trio.TooSlowError:
                continue
            except OSError as error:
                failure = _cause(error)
                continue
            self._note(trio.current_time() - before)
            visitor.address = (address, self._port)
            await stream.aclose()
            self._add(Check.REACHABLE, Verdict.GOOD, f"takes connections on port {self._port} of {address}")
            return True
        self._add(Check.REACHABLE, Verdict.FORBIDS, f"takes no connection on port {self._port}: {failure}")
        return False

    def _judge(self, addresses: list[IpAddress]) -> bool:
        """Say whether they may be visited. One that may not spoils all: a name must not lead inside by chance."""
        strange = [address for address in addresses if not self._routes.permit(address)]
        if not strange:
            self._add(Check.ADDRESS, Verdict.GOOD, "is on the Internet")
            return True
        if self._only_public:
            # Which address it is stays here: a node tells nobody what names mean in its own network.
            self._add(
                Check.ADDRESS,
                Verdict.FORBIDS,
                "has an address that is not of the Internet or is the node's own, and was not visited",
            )
            return False
        why = f"has the address {strange[0]}, which is not of the Internet or is this machine's own"
        self._add(Check.ADDRESS, Verdict.WARNING, why)
        return True

    def _note(self, round_trip: float) -> None:
        self.round_trip = round_trip
        milliseconds = f"{round_trip / MILLISECONDS:.0f} ms"
        if round_trip > SLOW:
            self._add(Check.ROUND_TRIP, Verdict.WARNING, f"is {milliseconds} away, for which each handshake waits")
        else:
            self._add(Check.ROUND_TRIP, Verdict.GOOD, f"is {milliseconds} away")

    def _add(self, check: Check, verdict: Verdict, text: str) -> None:
        self.findings.append(Finding(check, verdict, text))


class _Visitor:
    """Who asks one address by all names."""

    def __init__(self, trust: ssl.SSLContext, random: Random, limits: CheckLimits) -> None:
        self.address: tuple[IpAddress, int] | None = None
        self.limits = limits
        self.findings: list[Finding] = []
        self._random = random
        self._trusting = trust
        self._trusting.set_alpn_protocols(list(_ALPN))
        self._believing = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._believing.check_hostname, self._believing.verify_mode = False, ssl.CERT_NONE
        self._believing.set_alpn_protocols(list(_ALPN))

    async def look(self, names: tuple[str, ...]) -> None:
        answers: dict[str, tuple[object, ...]] = {}
        for name in names:
            answer = await self._ask(name)
            self.findings += answer.findings
            if not answer.is_tls13:
                answers[name] = ()
                continue
            if answer.records:
                await self._look_at_groups(name, answer)
            alpn = await self._look_at_certificate(name)
            answers[name] = (answer.group, answer.suite, len(answer.records), alpn)
        if len(names) > 1:
            first, *others = names
            odd = next((name for name in others if answers[name] != answers[first]), None)
            if odd is None:
                self._add(Check.SAME_FOR_ALL, Verdict.GOOD, "answers alike by all names")
            else:
                self._add(Check.SAME_FOR_ALL, Verdict.WARNING, f"answers otherwise as {odd} than as {first}")

    async def _ask(self, name: str, *, post_quantum: bool = True) -> Answer:
        offer = make_offer(CHROME, server_name=name, random=self._random, post_quantum=post_quantum)
        # To a node this would be a stranger's: nobody's key opens it.
        hello = read_client_hello(offer.with_session_id(self._random(SESSION_ID_LENGTH)).message)
        reader = AnswerReader(hello, max_flight=MAX_FLIGHT, random=self._random)
        try:
            with trio.fail_after(self.limits.visit):
                async with await self._open() as stream:
                    await stream.send_all(RecordWriter().plain(ContentType.HANDSHAKE, hello.raw, version=0x0301))
                    left = MAX_ANSWER
                    while left > 0:
                        data = bytes(await stream.receive_some(_CHUNK))
                        if not data:
                            return reader.end("ends the connection instead of answering a browser's hello")
                        if (answer := reader.feed(data)) is not None:
                            return answer
                        left -= len(data)
                    return reader.end(f"answers a browser's hello with more than {MAX_ANSWER:,} octets")
        except trio.TooSlowError:
            return reader.end(f"does not answer a browser's hello within {self.limits.visit:g} s")
        except (OSError, trio.BrokenResourceError):
            return reader.end("breaks the connection instead of answering a browser's hello")

    async def _look_at_groups(self, name: str, answer: Answer) -> None:
        if answer.group != X25519MLKEM768:
            self._add(Check.POST_QUANTUM, Verdict.NOTE, "does not answer in X25519MLKEM768", name=name)
            return
        self._add(Check.POST_QUANTUM, Verdict.GOOD, "answers in X25519MLKEM768", name=name)
        if (await self._ask(name, post_quantum=False)).group != X25519:
            self._add(Check.KEY_EXCHANGE, Verdict.WARNING, "does not answer in X25519 where that is alone", name=name)

    async def _look_at_certificate(self, name: str) -> str | None:
        """Return the ALPN that was chosen."""
        try:
            alpn = await self._shake_hands(name, self._trusting)
        except ssl.SSLCertVerificationError as error:
            why = f"has a certificate that browsers would refuse: {error.verify_message.rstrip('.')}"
            self._add(Check.CERTIFICATE, Verdict.FORBIDS, why, name=name)
        except _FAILURES as error:
            self._add(Check.CERTIFICATE, Verdict.FORBIDS, f"does not finish a handshake: {_cause(error)}", name=name)
            return None
        else:
            self._add(Check.CERTIFICATE, Verdict.GOOD, "has a certificate that is valid for its name", name=name)
            return self._judge_alpn(name, alpn)
        try:
            alpn = await self._shake_hands(name, self._believing)
        except _FAILURES:
            return None
        return self._judge_alpn(name, alpn)

    def _judge_alpn(self, name: str, alpn: str | None) -> str | None:
        if alpn == "h2":
            self._add(Check.HTTP2, Verdict.GOOD, "speaks HTTP/2", name=name)
        else:
            # Each hello asks for it; a site of today without it is rare, and so are connections that seem to lack it.
            self._add(Check.HTTP2, Verdict.WARNING, "does not speak HTTP/2 (h2 by ALPN), as browsers expect", name=name)
        return alpn

    async def _shake_hands(self, name: str, context: ssl.SSLContext) -> str | None:
        """Raises: what `_FAILURES` holds."""
        try:
            with trio.fail_after(self.limits.visit):
                async with await self._open() as transport:
                    stream = trio.SSLStream(transport, context, server_hostname=name, https_compatible=True)
                    await stream.do_handshake()
                    return stream.selected_alpn_protocol()  # type: ignore[no-any-return]
        except trio.BrokenResourceError as error:
            if isinstance(error.__cause__, ssl.SSLError):
                raise error.__cause__ from None
            raise

    async def _open(self) -> trio.SocketStream:
        assert self.address is not None, "it was scouted"
        address, port = self.address
        return await trio.open_tcp_stream(str(address), port)

    def _add(self, check: Check, verdict: Verdict, text: str, *, name: str = "") -> None:
        self.findings.append(Finding(check, verdict, text, name=name))


_FAILURES: Final = (OSError, trio.TooSlowError, trio.BrokenResourceError)
"""Of a handshake by the standard library; its own errors are of the first kind."""


def _cause(error: BaseException) -> str:
    """Return in few words why a connection failed."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, BaseExceptionGroup):
        return _cause(error.exceptions[0])
    if isinstance(error, ssl.SSLError):
        return (error.reason or "TLS failed").replace("_", " ").lower()
    if isinstance(error, trio.TooSlowError):
        return "no answer in time"
    return (error.strerror if isinstance(error, OSError) and error.strerror else "the connection broke").lower()
