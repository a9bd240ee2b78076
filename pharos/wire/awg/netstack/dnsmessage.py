"""Questions to resolvers and their answers (RFC 1035), by dnspython. Only who resolves imports this."""

from __future__ import annotations

import enum
from ipaddress import ip_address
from typing import Final

import attrs
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from pharos.wire.awg.netstack.ip import IpAddress
from pharos.wire.units import HOURS, MINUTES

ANSWER_BYTES: Final = 1232
"""That we take by UDP: what the DNS flag day of 2020 agreed on, so that nothing is fragmented."""
MAX_TTL: Final = 1 * HOURS
"""For which an answer is kept, whatever it says; addresses move, and caches are poisoned."""
MAX_NEGATIVE_TTL: Final = 5 * MINUTES
"""RFC 2308 §5 advises at most some hours; a name that is new should not have to wait for them."""
MIN_NEGATIVE_TTL: Final = 5.0
"""Seconds, where an answer does not say."""
MAX_ADDRESSES: Final = 32
"""Of one name, that are looked at."""
_KINDS: Final = {4: dns.rdatatype.A, 6: dns.rdatatype.AAAA}


class Outcome(enum.Enum):
    """What an answer says."""

    FOUND = enum.auto()
    NO_ADDRESS = enum.auto()
    """The name is there, and has no address of this version."""
    NO_NAME = enum.auto()
    TRUNCATED = enum.auto()
    """Ask again by TCP."""
    ALIAS = enum.auto()
    """The name is another's, whose addresses it did not tell."""
    FAILED = enum.auto()
    """The resolver cannot or will not; ask another."""


@attrs.frozen(kw_only=True)
class Answer:
    """A resolver's, to one question."""

    outcome: Outcome
    addresses: tuple[IpAddress, ...] = ()
    alias: str = ""
    ttl: float = 0.0
    """Seconds for which it may be kept."""


class Question:
    """For the addresses of a name, of one version of IP."""

    def __init__(self, name: str, version: int, identification: int) -> None:
        """``identification``: random, 16 bits.

        Raises: ValueError — nothing can have that name.
        """
        try:
            self._query = dns.message.make_query(
                dns.name.from_text(name), _KINDS[version], use_edns=0, payload=ANSWER_BYTES, id=identification
            )
        except (dns.exception.DNSException, UnicodeError) as error:
            raise ValueError(f"{name[:80]!r} is not a domain name") from error
        self._kind = _KINDS[version]

    def render(self) -> bytes:
        return self._query.to_wire()

    def read(self, data: bytes) -> Answer | None:
        """Read what a resolver sent; None if it is no answer to this question, and may be a forgery."""
        try:
            message = dns.message.from_wire(data, ignore_trailing=True)
        except dns.message.Truncated as error:
            message = error.message()  # type: ignore[no-untyped-call]
        except (dns.exception.DNSException, ValueError):
            return None
        if not self._query.is_response(message):
            return None
        if message.flags & dns.flags.TC:
            return Answer(outcome=Outcome.TRUNCATED)
        if message.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            return Answer(outcome=Outcome.FAILED)
        try:
            chain = message.resolve_chaining()  # type: ignore[attr-defined, unused-ignore]
        except (dns.exception.DNSException, ValueError):
            return Answer(outcome=Outcome.FAILED)
        if chain.answer is not None:
            return self._found(chain.answer, chain.minimum_ttl)
        if message.rcode() == dns.rcode.NXDOMAIN:
            return Answer(outcome=Outcome.NO_NAME, ttl=_negative(message))
        if chain.cnames:
            return Answer(outcome=Outcome.ALIAS, alias=chain.canonical_name.to_text(omit_final_dot=True))
        return Answer(outcome=Outcome.NO_ADDRESS, ttl=_negative(message))

    @staticmethod
    def _found(records: dns.rrset.RRset, ttl: int) -> Answer:
        addresses = tuple(ip_address(record.address) for record in list(records)[:MAX_ADDRESSES])
        return Answer(outcome=Outcome.FOUND, addresses=addresses, ttl=min(float(ttl), MAX_TTL))


def _negative(message: dns.message.Message) -> float:
    """Return for how long it may be kept that there is nothing (RFC 2308 §5)."""
    for records in message.authority:
        if records.rdtype == dns.rdatatype.SOA:
            return min(float(records.ttl), float(records[0].minimum), MAX_NEGATIVE_TTL)
    return MIN_NEGATIVE_TTL
