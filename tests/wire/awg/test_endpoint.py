from ipaddress import ip_network

import pytest

from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.endpoint import check_address, format_address
from pharos.wire.awg.udp import to_address
from pharos.wire.errors import ParameterError


def test_addresses_are_written_as_people_write_them():
    assert format_address(("198.51.100.7", 51820)) == "198.51.100.7:51820"
    assert format_address(("2001:db8::7", 51820)) == "[2001:db8::7]:51820"
    assert format_address(("fe80::1%2", 5)) == "[fe80::1%2]:5"
    assert format_address(("::ffff:198.51.100.7", 5)) == "198.51.100.7:5"


@pytest.mark.parametrize("address", [("node.example", 51820), ("", 1), ("198.51.100.7", 0), ("198.51.100.7", 65536)])
def test_an_address_that_would_need_a_resolver_is_refused(address):
    with pytest.raises(ParameterError, match="endpoint"):
        check_address(address)


def test_socket_addresses_of_both_families_come_to_one_form():
    assert to_address(("192.0.2.1", 7)) == ("192.0.2.1", 7)
    assert to_address(("2001:db8::1", 7, 0, 0)) == ("2001:db8::1", 7)
    assert to_address(("fe80::1", 7, 0, 2)) == ("fe80::1%2", 7)


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"public_key": b"short"}, "public_key of 5 bytes"),
        ({"preshared_key": b""}, "preshared_key of 0 bytes"),
        ({"endpoint": ("node.example", 1)}, "endpoint = node.example"),
        ({"persistent_keepalive": -1.0}, "persistent_keepalive = -1.0"),
        ({"persistent_keepalive": 65536.0}, "persistent_keepalive = 65536.0"),
    ],
)
def test_a_peers_configuration_names_the_rule_it_breaks(values, rule):
    with pytest.raises(ParameterError, match=rule):
        PeerConfig(**{"public_key": bytes(32)} | values)


def test_a_peers_configuration_does_not_print_its_preshared_key():
    config = PeerConfig(public_key=bytes(32), preshared_key=b"\xab" * 32, allowed_ips=(ip_network("10.0.0.0/8"),))
    assert "ab" * 4 not in repr(config)
    assert "xab" not in repr(config)
