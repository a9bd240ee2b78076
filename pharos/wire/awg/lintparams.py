"""Warns of obfuscation parameters that keep every rule and are unwise all the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pharos.wire.awg.confkeys import PARAMETER_NAMES
from pharos.wire.awg.findings import Finding, Severity
from pharos.wire.awg.ipackets import MAX_RANDOM_BYTES_1_5, IPacket, Tag
from pharos.wire.awg.messages import CORE_BYTES, KEEPALIVE_BYTES, MessageKind
from pharos.wire.awg.params import Generation, ObfuscationParameters
from pharos.wire.awg.ranges import Range
from pharos.wire.awg.rules import I_PACKETS, MAX_GENERATED_HEADER

# Amnezia's own advice; more junk delays each handshake for little more cover.
MIN_JUNK_ADVISED: Final = 4
MAX_JUNK_ADVISED: Final = 12
# amneziawg-go 3.1 sends 128 datagrams at once, the initiation among them; with more it sends none, and never connects.
MAX_OPENING: Final = 127
# Inner packets are filled up to a multiple of this.
PADDING_UNIT: Final = 16
# One packet in 65,536 lost is far below what any network loses by itself.
MAX_MISTAKEN: Final = 2**16
_U32_SPAN: Final = 2**32

# WireGuard's own timers in seconds (wireguard.pdf §6.1).
REKEY_AFTER: Final = Range(120, 120)
REJECT_AFTER: Final = Range(180, 180)
REKEY_TIMEOUT: Final = Range(5, 5)
KEEPALIVE_TIMEOUT: Final = Range(10, 10)


def lint_parameters(
    parameters: ObfuscationParameters, generation: Generation | None = None, *, initiates: bool = True
) -> Iterator[Finding]:
    """Yield what is unwise, and as errors what a peer of ``generation`` does not know.

    An end that never ``initiates`` a handshake has no use for junk.
    """
    if generation is not None:
        yield from _too_new(parameters, generation)
    if parameters.needs:
        yield from _junk(parameters, initiates=initiates)
        yield from _plain(parameters)
    yield from _mistaken(parameters)
    yield from _amplified(parameters)
    for key in I_PACKETS:
        packet = getattr(parameters, key)
        if packet is not None:
            yield from _ipacket(key, packet, generation)
    yield from _trailers(parameters)
    yield from _timings(parameters)


def warning(key: str, value: object, rule: str, *, line: int = 0) -> Finding:
    """Make a warning about a key of the file."""
    name = PARAMETER_NAMES.get(key, key)
    return Finding(severity=Severity.WARNING, key=name, value=str(value), rule=rule, line=line)


def _too_new(parameters: ObfuscationParameters, generation: Generation) -> Iterator[Finding]:
    for key, needed in parameters.needs.items():
        if needed > generation:
            value = getattr(parameters, key)
            yield Finding(
                severity=Severity.ERROR,
                key=PARAMETER_NAMES[key],
                value="(hidden)" if isinstance(value, bytes) else str(value)[:40],
                rule=f"needs AmneziaWG {needed}, and the peer speaks {generation}",
            )


def _junk(parameters: ObfuscationParameters, *, initiates: bool) -> Iterator[Finding]:
    jc = parameters.jc
    if jc == 0 and initiates and not parameters.ipackets:
        yield warning("jc", jc, "nothing goes before the initiation, whose size then opens every flow")
    elif jc + len(parameters.ipackets) > MAX_OPENING:
        rule = f"with {len(parameters.ipackets)} I packets more than {MAX_OPENING} go before an initiation"
        yield warning("jc", jc, f"{rule}: amneziawg-go then sends nothing and never connects")
    elif jc and not MIN_JUNK_ADVISED <= jc <= MAX_JUNK_ADVISED:
        yield warning("jc", jc, f"from {MIN_JUNK_ADVISED} to {MAX_JUNK_ADVISED} are advised")
    if jc and parameters.jmin == parameters.jmax:
        rule = "makes no junk at all" if parameters.jmax == 0 else "makes all junk of one size, which stands out"
        yield warning("jmax", parameters.jmax, rule)


def _plain(parameters: ObfuscationParameters) -> Iterator[Finding]:
    for kind, size in CORE_BYTES.items():
        # Cookie replies can be padded since 2.0, and are rare.
        if parameters.padding(kind) == 0 and (kind is not MessageKind.COOKIE_REPLY or parameters.s4):
            yield warning(f"s{kind.value}", 0, f"leaves the message WireGuard's own size, {size} bytes")
    for kind in MessageKind:
        header = parameters.header_range(kind)
        if header == Range(kind, kind) and not parameters.header_protection_key:
            yield warning(f"h{kind.value}", header, "leaves the message WireGuard's own type field")
        elif header.high > MAX_GENERATED_HEADER:
            yield warning(f"h{kind.value}", header, f"some tools take numbers up to {MAX_GENERATED_HEADER} only")


def _mistaken(parameters: ObfuscationParameters) -> Iterator[Finding]:
    """A transport message whose bytes look like another kind at that kind's place is taken for it, and lost."""
    any_length = parameters.content_padding_addition is not None or parameters.random_trailers
    for kind, size in CORE_BYTES.items():
        header, padding = parameters.header_range(kind), parameters.padding(kind)
        # At the place of its own type field a transport message has a value of H4, which is in no other range.
        possible = padding != parameters.s4 and header.span * MAX_MISTAKEN > _U32_SPAN
        padded = size + padding
        aligned = (padded - parameters.s4 - KEEPALIVE_BYTES) % PADDING_UNIT == 0
        if possible and (any_length or aligned):
            which = "from" if parameters.random_trailers else "of"
            yield warning(
                f"h{kind.value}",
                header,
                f"one transport message {which} {padded} bytes in {_U32_SPAN // header.span} is taken for another "
                f"kind and lost; make the range smaller, or S{kind.value} = S4",
            )


def _amplified(parameters: ObfuscationParameters) -> Iterator[Finding]:
    """Under load an initiation, whose source address may be forged, is answered with a cookie reply."""
    sizes = {kind: size + parameters.padding(kind) for kind, size in CORE_BYTES.items()}
    reply, asked = sizes[MessageKind.COOKIE_REPLY], sizes[MessageKind.INITIATION]
    if reply > asked and not parameters.disable_cookies:
        yield warning(
            "s3",
            parameters.s3,
            f"a cookie reply of {reply} bytes answers an initiation of {asked}: under load the node sends whoever's "
            f"address was forged more than it was sent; at most {parameters.s3 - reply + asked} keeps that even",
        )


def _ipacket(key: str, packet: IPacket, generation: Generation | None) -> Iterator[Finding]:
    tags = [part.tag for part in packet.parts]
    if Tag.COUNTER in tags:
        yield warning(key, "<c>", "AmneziaWG's Go engine from 0.2.16 on refuses it, and the whole set with it")
    if generation is Generation.V1_5:
        if any(part.size > MAX_RANDOM_BYTES_1_5 for part in packet.parts if part.tag is not Tag.STATIC):
            yield warning(key, packet.size, f"AmneziaWG 1.5 draws at most {MAX_RANDOM_BYTES_1_5} bytes in one part")
        if tags.count(Tag.TIME) > 1 or tags.count(Tag.COUNTER) > 1:
            yield warning(key, "<t>", "AmneziaWG 1.5 takes one <t> and one <c> in a packet")


def _trailers(parameters: ObfuscationParameters) -> Iterator[Finding]:
    if parameters.random_trailers and parameters.content_padding_addition is None:
        yield warning(
            "random_trailers",
            "on",
            "fills every packet up to the largest one; ContentPaddingAddition keeps that to handshakes",
        )
    if parameters.disable_cookies:
        yield warning("disable_cookies", "on", "a flood of initiations then shuts out honest peers")


def _timings(parameters: ObfuscationParameters) -> Iterator[Finding]:
    rekey_after = parameters.rekey_after_time or REKEY_AFTER
    reject_after = parameters.reject_after_time or REJECT_AFTER
    rekey_timeout = parameters.rekey_timeout or REKEY_TIMEOUT
    keepalive = parameters.keepalive_timeout or KEEPALIVE_TIMEOUT
    if reject_after.low <= keepalive.high + rekey_timeout.high:
        yield warning(
            "reject_after_time",
            reject_after,
            f"is not above KeepaliveTimeout and RekeyTimeout together, {keepalive.high} + {rekey_timeout.high}",
        )
    elif rekey_after.high >= reject_after.low - keepalive.low - rekey_timeout.low:
        yield warning(
            "rekey_after_time",
            rekey_after,
            f"above {reject_after.low - keepalive.low - rekey_timeout.low - 1} the next session may come too late",
        )
    if keepalive.low + rekey_timeout.low <= keepalive.high:
        yield warning(
            "keepalive_timeout",
            keepalive,
            f"a peer that answers after {keepalive.high} is taken for dead after {keepalive.low + rekey_timeout.low}",
        )
