"""Targets: questions for names and their answers, as the resolver of a split tunnel has them, and resolv.conf(5)."""

from __future__ import annotations

import dns.exception
import dns.message
import dns.rrset

from pharos.caravel.system.dnspacket import SERVER_FAILURE, PacketError, failure, is_answer, read_question
from pharos.caravel.system.dnstext import read_servers, render
from pharos.caravel.system.splitnames import MAX_ADDRESSES, read_answer, usable

QUESTION = dns.message.make_query("www.example.org.", "HTTPS", id=7).to_wire()
ANSWER = dns.message.make_response(dns.message.from_wire(QUESTION))
for _record in (
    "www.example.org. CNAME edge.example.net.",
    "edge.example.net. HTTPS 1 svc.example.net. alpn=h3 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1",
    "edge.example.net. A 192.0.2.2",
):
    _name, _kind, _value = _record.split(" ", 2)
    ANSWER.answer.append(dns.rrset.from_text(_name, 300, "IN", _kind, _value))
RESOLV_CONF = b"# x\nsearch example.org\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\noptions edns0 trust-ad\n"


def question(data: bytes) -> None:
    """Anything is a question that can be answered, or refused; never is an answer taken for one."""
    said: bytes | None = None
    try:
        asked = read_question(data)
    except PacketError as error:
        said = error.answer
    else:
        assert is_answer(data, asked, failure(data, SERVER_FAILURE, asked.end))
        assert asked.name.isascii()
        assert asked.name == asked.name.lower()
    assert said is None or len(said) == 12


def answer(data: bytes) -> None:
    """An answer is refused by dnspython's own errors, or says of its name no more than may be."""
    try:
        message = dns.message.from_wire(data, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError):
        return
    learnt = read_answer(message)
    assert len(learnt.addresses) <= MAX_ADDRESSES
    assert learnt.ttl > 0
    for address in learnt.addresses:
        usable(address)


def resolv_conf(data: bytes) -> None:
    """Any text names servers, which survive their way there and back."""
    text = data.decode("utf-8", "replace")
    servers = read_servers(text)
    assert read_servers(render(servers, text, search=True)) == servers[:3]
