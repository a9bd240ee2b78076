from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg import allowedips
from pharos.wire.awg.allowedips import AllowedIps, compact, expand

networks4 = st.builds(
    lambda address, length: IPv4Network((address, length), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)
networks6 = st.builds(
    lambda address, length: IPv6Network((address, length), strict=False),
    st.integers(0, 2**128 - 1),
    st.integers(0, 128),
)
networks = st.one_of(networks4, networks6)


def find(table, text):
    return table.find(ip_address(text).packed)


def test_the_longest_prefix_wins():
    table = AllowedIps()
    table.add(ip_network("0.0.0.0/0"), "all")
    table.add(ip_network("10.0.0.0/8"), "ten")
    table.add(ip_network("10.1.2.3/32"), "one")
    assert find(table, "10.1.2.3") == "one"
    assert find(table, "10.1.2.4") == "ten"
    assert find(table, "192.0.2.1") == "all"


def test_the_families_never_meet():
    table = AllowedIps()
    table.add(ip_network("0.0.0.0/0"), "four")
    assert find(table, "::1") is None
    table.add(ip_network("::/0"), "six")
    assert find(table, "::1") == "six"
    assert find(table, "0.0.0.1") == "four"


def test_a_network_belongs_to_whoever_took_it_last():
    table, network = AllowedIps(), ip_network("10.0.0.0/24")
    table.add(network, "first")
    table.add(network, "second")
    table.remove(network, "first")
    assert find(table, "10.0.0.1") == "second"
    table.remove(network, "second")
    assert find(table, "10.0.0.1") is None


def test_the_cache_is_bounded_and_forgets_what_changed(monkeypatch):
    monkeypatch.setattr(allowedips, "MAX_CACHED", 8)
    table = AllowedIps()
    for number in range(100):
        assert find(table, f"10.0.0.{number}") is None
        assert len(table._cache) <= 8
    table.add(ip_network("10.0.0.99/32"), "new")
    assert find(table, "10.0.0.99") == "new"


@given(st.lists(st.tuples(networks, st.integers(0, 3), st.booleans()), max_size=30), st.data())
def test_it_agrees_with_a_plain_search(changes, data):
    table, plain = AllowedIps(), {}
    for network, owner, add in changes:
        if add:
            table.add(network, owner)
            plain[network] = owner
        else:
            table.remove(network, owner)
            if plain.get(network) == owner:
                del plain[network]
    for network, _, _ in changes:
        last = int(network.broadcast_address)
        number = data.draw(st.integers(int(network.network_address), last))
        address = type(network.network_address)(number)
        holding = [net for net in plain if net.version == address.version and address in net]
        expected = plain[max(holding, key=lambda net: net.prefixlen)] if holding else None
        assert table.find(address.packed) == expected
        assert table.owner(network) == table.owner(compact(network)) == plain.get(network)
        assert expand(compact(network)) == network


def test_a_single_address_and_its_network_are_the_same_place():
    table, network = AllowedIps(), ip_network("fd00::7/128")
    table.add(network.network_address.packed, "peer")
    assert table.owner(network) == find(table, "fd00::7") == "peer"
    table.remove(network, "another")
    assert find(table, "fd00::7") == "peer"
    table.remove(network, "peer")
    assert find(table, "fd00::7") is None
