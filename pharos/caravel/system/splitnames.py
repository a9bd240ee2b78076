"""Which side a name goes, and what its answer says of addresses (RFC 1035, RFC 9460). Pure; by dnspython."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, Final

import attrs
import dns.exception
import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from pharos.caravel.system.plan import IpAddress
from pharos.wire.units import DAYS, MINUTES, SECONDS

MAX_LEARNT: Final = 4096
"""Names that stand for others: a page's worth for each of the domains that may be named."""
MAX_ADDRESSES: Final = 64
"""Of one answer; those with more are rare, and no program tries that many."""
MAX_ALIASES: Final = 16
MIN_TTL: Final = 60 * SECONDS
GRACE: Final = 2 * MINUTES
"""For which programs use an address after its time: browsers keep one for a minute at least."""
MAX_TTL: Final = 1 * DAYS


@attrs.frozen(kw_only=True)
class Learnt:
    """What an answer to a question for a name says."""

    addresses: tuple[IpAddress, ...] = ()
    aliases: tuple[str, ...] = ()
    """Names that stand for it: programs ask for their addresses next, and mean this one."""
    ttl: float = MIN_TTL
    """Seconds for which all of it holds."""


def text_of(name: dns.name.Name) -> str:
    """Return a name as `Names` compares it; what no domain has is escaped."""
    return name.to_text(omit_final_dot=True).lower()


class Names:
    """Domains, and names that stand for names in them."""

    def __init__(self, domains: Iterable[str]) -> None:
        """``domains``: as `pharos.caravel.system.split.domain_of` returns them."""
        named = tuple(domains)
        self._below = frozenset(domain.removeprefix("*.") for domain in named)
        self._itself = frozenset(domain for domain in named if not domain.startswith("*."))
        self._learnt: OrderedDict[str, float] = OrderedDict()

    def match(self, name: str, now: float) -> bool:
        """Whether a name is meant. ``now`` in seconds, of any clock, as of `learn`."""
        if name in self._itself or self._learnt.get(name, now) > now:
            return True
        labels = name.split(".")
        return any(".".join(labels[at:]) in self._below for at in range(1, len(labels)))

    def learn(self, names: Iterable[str], until: float) -> None:
        """Have these names be meant, too, until then; of too many the oldest is forgotten."""
        for name in names:
            self._learnt[name] = max(until, self._learnt.pop(name, until))
            if len(self._learnt) > MAX_LEARNT:
                self._learnt.popitem(last=False)


def read_answer(message: dns.message.Message) -> Learnt:
    """Return what an answer says of the name in its question, along its aliases; of other names it may say nothing."""
    if not message.question:
        return Learnt()
    name = message.question[0].name
    records = [one for one in message.answer if one.rdclass == dns.rdataclass.IN]
    ttls: list[float] = []
    aliases: list[dns.name.Name] = []
    for _ in range(MAX_ALIASES):
        alias = next((one for one in records if one.name == name and one.rdtype == dns.rdatatype.CNAME), None)
        if alias is None:
            break
        ttls.append(alias.ttl)
        name = alias[0].target
        aliases.append(name)
    mine = [one for one in records if one.name == name]
    targets = [target for one in mine for target in _targets(one) if target != dns.name.root]
    # What a server adds to spare the next question (RFC 9460 §4.1, RFC 2782).
    mine += [one for one in message.additional if one.name in targets and one.rdclass == dns.rdataclass.IN]
    addresses = dict.fromkeys(address for one in mine for address in _addresses(one))
    ttls += [one.ttl for one in mine if one.rdtype not in (dns.rdatatype.RRSIG, dns.rdatatype.OPT)]
    return Learnt(
        addresses=tuple(addresses)[:MAX_ADDRESSES],
        aliases=tuple(dict.fromkeys(map(text_of, [*aliases, *targets]))),
        ttl=min(max(float(min(ttls, default=0)), MIN_TTL) + GRACE, MAX_TTL),
    )


def _targets(records: dns.rrset.RRset) -> Iterator[dns.name.Name]:
    if records.rdtype in (dns.rdatatype.SVCB, dns.rdatatype.HTTPS, dns.rdatatype.SRV):
        yield from (record.target for record in list(records)[:MAX_ADDRESSES])


def _addresses(records: dns.rrset.RRset) -> Iterator[IpAddress]:
    for record in list(records)[:MAX_ADDRESSES]:
        if records.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
            yield ipaddress.ip_address(record.address)
        elif records.rdtype in (dns.rdatatype.SVCB, dns.rdatatype.HTTPS):
            for key in (4, 6):  # ipv4hint, ipv6hint (RFC 9460 §14.3.2)
                hint: Any = record.params.get(key)
                yield from map(ipaddress.ip_address, getattr(hint, "addresses", ()))


def usable(address: IpAddress) -> bool:
    """Whether an address may be sent somewhere: this machine's own, and those of many at once, stay where they are."""
    return not (address.is_loopback or address.is_unspecified or address.is_multicast or address.is_link_local)
