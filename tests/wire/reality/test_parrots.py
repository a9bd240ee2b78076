"""What a passive observer makes of our hellos. The JA4 values are those published for the browsers themselves."""

from collections import Counter

import pytest

from pharos.wire.reality.errors import TlsError
from pharos.wire.reality.extensions import GREASE, Extension
from pharos.wire.reality.groups import SECP256R1, SECP384R1, X25519, X25519MLKEM768
from pharos.wire.reality.hello import ClientHello, read_client_hello
from pharos.wire.reality.offer import make_offer
from pharos.wire.reality.parrots import CHROME, FIREFOX, PARROTS, SAFARI, Parrot
from tests.support.ja import ja3, ja4, md5
from tests.support.reality import NAME, seeded

every_parrot = pytest.mark.parametrize("parrot", PARROTS.values(), ids=PARROTS)

JA4 = {
    "chrome": "t13d1516h2_8daaf6152771_d8a2da3f94cd",
    "firefox": "t13d1717h2_5b57614c22b0_3cbfd9057e0d",
    "safari": "t13d2013h2_a09f3c656075_7f0f34a4126d",
}
JA3 = {
    # Chrome shuffles its extensions, so that its JA3 is another one each time: this one is of the sorted extensions.
    "chrome": "8e19337e7524d2573be54efb2b0784c9",
    "firefox": "6f7889b9fb1a62a9577e685c1fcfa919",
    "safari": "ecdf4f49dd59effc439639da29186671",
}


def hello_of(parrot: Parrot, seed: int = 0, *, post_quantum: bool = True, name: str = NAME) -> ClientHello:
    offer = make_offer(parrot, server_name=name, random=seeded(seed), post_quantum=post_quantum)
    return read_client_hello(offer.message)


@every_parrot
def test_ja3_and_ja4_are_the_browsers_in_every_hello(parrot: Parrot) -> None:
    for seed in range(20):
        hello = hello_of(parrot, seed)
        assert ja4(hello) == JA4[parrot.name]
        assert md5(ja3(hello, in_order=not parrot.shuffles)) == JA3[parrot.name]


def test_only_chrome_shuffles_and_leaves_grease_in_its_places() -> None:
    for parrot in PARROTS.values():
        orders = {tuple(code for code in hello_of(parrot, seed).extensions if code not in GREASE) for seed in range(20)}
        assert (len(orders) == 20) is parrot.shuffles
    for seed in range(20):
        codes = list(hello_of(CHROME, seed).extensions)
        assert {codes.index(code) for code in codes if code in GREASE} == {0, len(codes) - 1}


def test_any_extension_may_stand_anywhere_in_a_shuffled_hello() -> None:
    places = Counter(list(hello_of(CHROME, seed).extensions).index(Extension.SERVER_NAME) for seed in range(400))
    # 16 places: at each of them 25 times of 400 on the average; far from it would be a mark of ours.
    assert set(places) == set(range(1, 17))
    assert max(places.values()) < 60


@pytest.mark.parametrize("parrot", [CHROME, SAFARI], ids=["chrome", "safari"])
def test_grease_is_drawn_for_each_place_and_only_the_extensions_differ(parrot: Parrot) -> None:
    same_as_group = 0
    for seed in range(200):
        hello = hello_of(parrot, seed)
        drawn = [code for code in hello.extensions if code in GREASE]
        assert len(set(drawn)) == 2
        assert [hello.extensions[code] for code in drawn] == [b"", b"\0"]
        # Suite, group and version begin their lists by it; the key share's is the group's, with one octet.
        assert {hello.suites[0], hello.groups[0], hello.versions[0]} <= GREASE
        assert hello.shares[hello.groups[0]] == b"\0"
        same_as_group += hello.suites[0] == hello.groups[0]
    # Independent draws from 16 meet now and then; five that never do would be a mark of ours.
    assert 0 < same_as_group < 40


def test_chromes_two_x25519_keys_differ_and_firefoxes_are_one() -> None:
    for parrot, reused in ((CHROME, False), (SAFARI, False), (FIREFOX, True)):
        shares = hello_of(parrot).shares
        assert (shares[X25519MLKEM768][-32:] == shares[X25519]) is reused


def test_firefox_has_a_share_of_p256_too() -> None:
    assert list(hello_of(FIREFOX).shares) == [X25519MLKEM768, X25519, SECP256R1]


def test_an_ech_that_means_nothing_has_one_of_the_browsers_lengths() -> None:
    chrome = {len(hello_of(CHROME, seed).extensions[Extension.ENCRYPTED_CLIENT_HELLO]) for seed in range(40)}
    # Type, suite, config id, length and key, length: 42 octets before the payload.
    assert chrome == {42 + payload for payload in (144, 176, 208, 240)}
    bodies = [hello_of(FIREFOX, seed).extensions[Extension.ENCRYPTED_CLIENT_HELLO] for seed in range(40)]
    assert {len(body) for body in bodies} == {42 + 239}
    assert {body[3:5] for body in bodies} == {b"\0\1", b"\0\3"}
    assert Extension.ENCRYPTED_CLIENT_HELLO not in hello_of(SAFARI).extensions


@every_parrot
def test_without_post_quantum_its_group_is_nowhere(parrot: Parrot) -> None:
    hello = hello_of(parrot, post_quantum=False)
    assert X25519MLKEM768 not in hello.groups
    assert X25519MLKEM768 not in hello.shares
    assert X25519 in hello.shares


def test_a_hello_of_the_awkward_lengths_is_padded_to_512() -> None:
    padded = [hello_of(SAFARI, post_quantum=False, name=name) for name in ("a.test", NAME, "n" * 40 + ".test")]
    assert {len(hello.raw) for hello in padded} == {512}
    assert all(not any(hello.extensions[Extension.PADDING]) for hello in padded)
    assert Extension.PADDING not in hello_of(SAFARI).extensions
    assert Extension.PADDING not in hello_of(SAFARI, post_quantum=False, name="n" * 245 + ".test").extensions


def test_nothing_but_the_passed_randomness_is_in_a_hello() -> None:
    for parrot in PARROTS.values():
        assert hello_of(parrot, 7).raw == hello_of(parrot, 7).raw
        assert hello_of(parrot, 7).raw != hello_of(parrot, 8).raw


def test_a_second_hello_differs_by_what_was_asked_for() -> None:
    first = make_offer(CHROME, server_name=NAME, random=seeded())
    second = first.again(group=SECP384R1, cookie=b"\0\1c", random=seeded(1))
    before, after = read_client_hello(first.message), read_client_hello(second.message)
    assert list(after.shares) == [SECP384R1]
    assert after.extensions[Extension.COOKIE] == b"\0\1c"
    unchanged = before.extensions.keys() - {Extension.KEY_SHARE}
    assert {code: after.extensions[code] for code in unchanged} == {code: before.extensions[code] for code in unchanged}
    assert (after.random, after.session_id, after.suites) == (before.random, before.session_id, before.suites)


@pytest.mark.parametrize("group", [None, X25519, 0x0100, 0x0019])
def test_a_second_hello_is_not_made_of_what_was_not_offered(group: int | None) -> None:
    offer = make_offer(CHROME, server_name=NAME, random=seeded())
    with pytest.raises(TlsError):
        offer.again(group=group, cookie=None, random=seeded())
