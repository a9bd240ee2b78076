from __future__ import annotations

import attrs
import pytest

from pharos.wire.errors import ParameterError
from pharos.wire.reality.client import CLIENT_VERSION
from pharos.wire.reality.options import DialOptions, endpoint_of, parrot_of, parse_version, render_version
from pharos.wire.reality.parrots import CHROME, FIREFOX, PARROTS, SAFARI
from pharos.wire.reality.sharelink import FINGERPRINTS
from tests.support.reality import seeded
from tests.wire.reality.test_sharelink import FOUND


def test_a_link_says_where_and_how_and_the_device_adds_its_own() -> None:
    usual = endpoint_of(FOUND, random=seeded())
    assert (usual.host, usual.port) == ("203.0.113.7", 443)
    assert usual.settings.server_name == "www.site.test"
    assert usual.settings.public_key == FOUND.public_key
    assert usual.settings.short_id == bytes.fromhex("0123456789abcdef")
    assert (usual.settings.parrot, usual.settings.post_quantum) == (CHROME, True)
    assert (usual.settings.version, usual.settings.mldsa65_key) == (CLIENT_VERSION, None)
    other = attrs.evolve(FOUND, short_id="ab", fingerprint="firefox", verify_key=b"v" * 1952)
    found = endpoint_of(other, DialOptions(post_quantum=False, version=(1, 8, 0)), random=seeded()).settings
    assert found.short_id == b"\xab" + bytes(7)
    assert (found.parrot, found.post_quantum, found.version) == (FIREFOX, False, (1, 8, 0))
    assert found.mldsa65_key == b"v" * 1952


def test_every_fingerprint_of_links_has_a_hello_and_so_has_one_that_nobody_knows() -> None:
    chosen = {name: parrot_of(name, random=seeded()) for name in FINGERPRINTS | {"netscape"}}
    assert {name: chosen[name] for name in PARROTS} == PARROTS
    assert chosen["ios"] is SAFARI
    assert {chosen[name] for name in ("edge", "360", "qq", "android", "netscape")} == {CHROME}


@pytest.mark.parametrize("name", ["random", "randomized"])
def test_a_fingerprint_that_is_to_be_drawn_is_any_of_ours(name: str) -> None:
    random = seeded()
    assert {parrot_of(name, random=random).name for _ in range(100)} == set(PARROTS)


def test_a_version_is_three_octets() -> None:
    assert render_version(parse_version("26.3.27")) == "26.3.27"
    for wrong in ("", "1.2", "1.2.3.4", "1.2.256", "1.2.-3", "1.2.x", "1..3", "1.2.٣", "0001.2.3"):
        with pytest.raises(ParameterError):
            parse_version(wrong)
