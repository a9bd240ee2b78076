"""Safety words: the same at both ends, others for another device, and never other words than today's."""

from __future__ import annotations

import hashlib

from pharos.wire.ids import DeviceId
from pharos.wire.seal.words import COUNT, FLEET_COUNT, WORDS, fleet_words, safety_words

DEVICE = DeviceId("019b7c12-0000-7000-8000-00000000d001")
KEYS = tuple(bytes([number]) * 32 for number in range(4))


def test_list_is_256_words_that_are_known_by_four_letters() -> None:
    assert len({word[:4] for word in WORDS}) == len(WORDS) == 256
    assert all(word.isascii() and word.isalpha() and word.islower() for word in WORDS)


def test_list_is_frozen() -> None:
    digest = hashlib.sha256(" ".join(WORDS).encode()).hexdigest()
    assert digest == "76c409e0c679909cca69ac805481eb9fb9de3778291650fc65b6a4158af3efd2", (
        "devices in the field say the words of this list"
    )


def test_words_are_frozen_and_each_key_counts() -> None:
    words = safety_words(DEVICE, *KEYS)
    assert words == "heron gentle barrel mitten otter island"
    assert len(words.split()) == COUNT
    others = {safety_words(DeviceId("other"), *KEYS), safety_words(DEVICE, *KEYS[::-1])}
    for place in range(4):
        others.add(safety_words(DEVICE, *(b"\xff" * 32 if n == place else key for n, key in enumerate(KEYS))))
    assert len(others) == 6
    assert words not in others


def test_words_of_a_fleet_are_frozen_and_depend_on_its_root() -> None:
    words = fleet_words(bytes(32))
    assert words == "ruby flute cloud yellow diamond dinner winter yellow"
    assert len(words.split()) == FLEET_COUNT
    assert fleet_words(bytes(31) + b"\1") != words
