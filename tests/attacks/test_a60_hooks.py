"""Row 60. Position: whoever may name an endpoint, a network or a resolver. Wants: a command run by root's shell.

`wg-quick` and `awg-quick` run the hooks of a file (PostUp and its kin) as root. Countermeasure: a file is written from
typed values only, each of which must read back from its own text, and hooks only where they are asked for.
"""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg import conf
from pharos.wire.awg.conf import InterfaceSection, PeerSection, TunnelConf, render
from pharos.wire.awg.confread import parse
from pharos.wire.errors import ParameterError
from tests.support.strategies import quick

COMMAND = "touch /tmp/canary"
KEY = bytes(range(32))
# A section, a hook, and what is left of the line behind them.
PAYLOADS = [f"{end}[Interface]{end}PostUp = {COMMAND}{end}# " for end in ("\n", "\r\n", "\r", "\x0b", "\x85", "\u2028")]
INTERFACE_FIELDS = {
    "dns": lambda text: (text,),
    "table": str,
    "addresses": lambda text: (text,),
    "mtu": str,
    "fwmark": str,
    "listen_port": str,
    "private_key": str.encode,
}
PEER_FIELDS = {
    "endpoint": lambda text: (text, 51820),
    "allowed_ips": lambda text: (text,),
    "preshared_key": str.encode,
    "persistent_keepalive": str,
    "advanced_security": str,
}


def section_of(field: str, text: str) -> TunnelConf:
    if field in INTERFACE_FIELDS:
        return TunnelConf(interface=InterfaceSection(**{field: INTERFACE_FIELDS[field](text)}))
    return TunnelConf(peers=(PeerSection(public_key=KEY, **{field: PEER_FIELDS[field](text)}),))


FIELDS = [*INTERFACE_FIELDS, *PEER_FIELDS]


@pytest.mark.parametrize("field", ["dns", "table", "endpoint"])
def test_a60_turns_red_where_nobody_checks_a_value(field, monkeypatch):
    monkeypatch.setattr(conf, "check_fields", lambda section, keys: None)
    written = render(section_of(field, f"a\n[Interface]\nPostUp = {COMMAND}\n#"))
    assert f"\nPostUp = {COMMAND}\n" in written


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("field", FIELDS)
def test_a60_no_value_that_becomes_a_hook_is_taken(field, payload):
    for text in (payload, f"a{payload}", f"10.0.0.1{payload}", f"fe80::1%{payload}"):
        with pytest.raises(ParameterError):
            section_of(field, text)


@quick
@given(st.sampled_from(FIELDS), st.text(max_size=30))
def test_a60_whatever_text_is_taken_reads_back_as_itself_and_adds_no_key(field, text):
    try:
        taken = section_of(field, text)
    except ParameterError:
        return
    written = render(taken)
    assert parse(written) == taken
    assert len(written.splitlines()) <= 5


def test_a60_a_zone_of_an_address_smuggles_nothing():
    # The standard library takes any zone at all.
    assert ipaddress.ip_address("fe80::1%\nPostUp = x").scope_id == "\nPostUp = x"
    with pytest.raises(ParameterError, match="Endpoint"):
        PeerSection(public_key=KEY, endpoint=("fe80::1%\nPostUp = x", 51820))
