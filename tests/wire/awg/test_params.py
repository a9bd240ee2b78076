import base64

import pytest

from pharos.wire.awg.messages import MessageKind
from pharos.wire.awg.params import PLAIN, Generation, ObfuscationParameters, UncheckedParameters
from pharos.wire.awg.ranges import Range
from pharos.wire.awg.rules import violations
from pharos.wire.errors import ParameterError


def test_the_defaults_are_plain_wireguard():
    assert ObfuscationParameters() == PLAIN
    assert [PLAIN.header_range(kind) for kind in MessageKind] == [Range(kind, kind) for kind in (1, 2, 3, 4)]
    assert [PLAIN.padding(kind) for kind in MessageKind] == [0, 0, 0, 0]
    assert PLAIN.jc == 0


KEY = bytes(range(32))
PADDED = {"s1": 12, "s2": 13, "s3": 14, "s4": 15}


@pytest.mark.parametrize(
    ("values", "key", "rule"),
    [
        ({"jc": 129}, "jc = 129", "from 0 to 128"),
        ({"jc": -1}, "jc = -1", "from 0 to 128"),
        ({"jmin": 51, "jmax": 50}, "jmin = 51", "not be above jmax"),
        ({"jmax": 1280}, "jmax = 1280", "from 0 to 1279"),
        ({"jmin": 1280, "jmax": 1279}, "jmin = 1280", "from 0 to 1279"),
        ({"s1": 1133}, "s1 = 1133", "from 0 to 1132"),
        ({"s2": 1189}, "s2 = 1189", "from 0 to 1188"),
        ({"s3": 1217}, "s3 = 1217", "from 0 to 1216"),
        ({"s4": 1249}, "s4 = 1249", "from 0 to 1248"),
        ({"s1": 10, "s2": 66}, "s2 = 66", "padded sizes must differ"),
        ({"s3": 84}, "s3 = 84", "148 bytes long, as long as that of s1; padded sizes must differ"),
        ({"s4": 32}, "s4 = 32", "64 bytes long, as long as that of s3; padded sizes must differ"),
        ({"h1": 2**32}, "h1 = 4294967296", "from 0 to 4294967295"),
        ({"h1": "9-4294967296"}, "h1 = 9-4294967296", "from 0 to 4294967295"),
        ({"h1": -5}, "h1 = -5", "from 0 to 4294967295"),
        ({"h1": 7, "h3": 7}, "h3 = 7", "must differ from h1"),
        ({"h1": "7-20", "h3": "20-30"}, "h3 = 20-30", "must not overlap h1 = 7-20"),
        ({"h2": "100-200", "h4": 150}, "h4 = 150", "must not overlap h2 = 100-200"),
        ({"h1": "9-8"}, "h1 = 9-8", "first number must not be above its second"),
        ({"h1": 2, "h2": 1}, "h1 = 2", "must be 1, as in WireGuard, or from 5 up"),
        ({"h1": "1-9"}, "h1 = 1-9", "must be 1, as in WireGuard, or from 5 up"),
        ({"h4": 0}, "h4 = 0", "must be 4, as in WireGuard, or from 5 up"),
        ({"h1": "5 - 9"}, "h1 = '5 - 9'", "a range of two as in 5-9"),
        ({"h1": None}, "h1 = None", "a range of two as in 5-9"),
        ({"s1": True}, "s1 = True", "whole number"),
        ({"s1": "15"}, "s1 = '15'", "whole number"),
        ({"i1": "<b 0xabc>"}, "i1 = '<b 0xabc>'", "must be a sequence of <b 0xHEX>"),
        ({"i5": ""}, "i5 = (0 characters)", "must have from 1 to"),
        ({"i2": 7}, "i2 = (0 characters)", "must have from 1 to"),
        ({"header_protection_key": KEY[:31], **PADDED}, "header_protection_key = (31 bytes)", "must be 32 bytes long"),
        ({"header_protection_key": bytes(32), **PADDED}, "header_protection_key = (all zero)", "must not be zero"),
        ({"header_protection_key": "secret"}, "header_protection_key = (hidden)", "must be bytes"),
        ({"header_protection_key": KEY, **PADDED, "s4": 11}, "s4 = 11", "must be at least 12"),
        ({"header_protection_key": KEY, **PADDED, "s1": 0}, "s1 = 0", "must be at least 12"),
        ({"content_padding_addition": "9-3"}, "content_padding_addition = 9-3", "first number"),
        ({"content_padding_addition": 65536}, "content_padding_addition = 65536", "from 0 to 65535"),
        ({"rekey_after_time": "0-5"}, "rekey_after_time = 0-5", "from 1 to 4294967295"),
        ({"reject_after_time": 2**32}, "reject_after_time = 4294967296", "from 1 to 4294967295"),
        ({"keepalive_timeout": "a"}, "keepalive_timeout = 'a'", "a range of two as in 5-9"),
        ({"rekey_timeout": True}, "rekey_timeout = True", "a range of two as in 5-9"),
        ({"max_handshake_attempts": "3-2"}, "max_handshake_attempts = 3-2", "first number"),
        ({"random_trailers": 1}, "random_trailers = 1", "true or false"),
        ({"disable_cookies": "on"}, "disable_cookies = 'on'", "true or false"),
    ],
)
def test_a_broken_rule_is_named_with_key_and_value(values, key, rule):
    with pytest.raises(ParameterError) as caught:
        ObfuscationParameters(**values)
    assert str(caught.value).startswith(f"{key}: ")
    assert rule in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"jc": 128, "jmin": 1279, "jmax": 1279},
        {"s1": 1132},
        {"s2": 1188},
        {"s3": 1216},
        {"s4": 1248},
        {"h1": 5, "h2": 2**32 - 1},
        {"h1": "5-9", "h2": "10-4294967295"},
        {"s1": 10, "s2": 67},
        {"content_padding_addition": "0-65535"},
        {"rekey_after_time": "1-4294967295", "max_handshake_attempts": 1},
        {"random_trailers": True, "disable_cookies": True},
        {"i1": "<b 0x00><t><c>", "i5": "<rd 65507>"},
        {"header_protection_key": base64.b64encode(KEY).decode(), **PADDED},
    ],
)
def test_the_edge_of_each_rule_is_allowed(values):
    assert ObfuscationParameters.from_mapping(values).as_mapping() == PLAIN.as_mapping() | values


def test_every_broken_rule_is_found_and_none_that_follows_from_another():
    wrong = UncheckedParameters(
        jc=200, jmin=60, jmax=50, s1=10, s2=66, s4=9_999, h1="7-9", h2=8, h3=1, header_protection_key=KEY
    )
    assert [str(violation).split(":")[0] for violation in violations(wrong)] == [
        *("jc = 200", "s4 = 9999", "h3 = 1", "jmin = 60", "s2 = 66", "h2 = 8"),
        *("s1 = 10", "s3 = 0"),
    ]
    assert not list(violations(PLAIN))


def test_a_header_protection_key_is_shown_by_no_error_and_no_repr():
    key = b"a key that is nobody's but ours!"
    good = ObfuscationParameters(header_protection_key=key, **PADDED)
    assert key.decode() not in repr(good)
    for values in ({"header_protection_key": key + b"x"}, {"header_protection_key": key, "s1": 1}):
        with pytest.raises(ParameterError) as caught:
            ObfuscationParameters(**values)
        assert "nobody" not in str(caught.value)
    for text in ("bm9ib2R5", "nobody's", 7):
        with pytest.raises(ParameterError, match="header_protection_key") as caught:
            ObfuscationParameters.from_mapping({"header_protection_key": text, **PADDED})
        assert "nobody" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "generation"),
    [
        ({}, Generation.WIREGUARD),
        ({"jc": 1}, Generation.V1_0),
        ({"h4": 5}, Generation.V1_0),
        ({"i3": "<r 1>"}, Generation.V1_5),
        ({"s3": 1}, Generation.V2_0),
        ({"h4": "5-6"}, Generation.V2_0),
        ({"i3": "<r 1>", "h4": "5-6"}, Generation.V2_0),
        ({"content_padding_addition": 1}, Generation.V3_0),
        ({"keepalive_timeout": 9, "h4": "5-6"}, Generation.V3_0),
        ({"disable_cookies": True}, Generation.V3_1),
        ({"random_trailers": True, "jc": 1}, Generation.V3_1),
    ],
)
def test_a_set_says_the_least_generation_that_knows_it(values, generation):
    assert ObfuscationParameters(**values).generation is generation


def test_zero_in_a_mapping_means_plain_wireguard():
    assert ObfuscationParameters.from_mapping({"h1": 0, "jc": 0, "s1": 0, "h4": "0", "i1": ""}) == PLAIN
    assert ObfuscationParameters.from_mapping({}) == PLAIN
    assert ObfuscationParameters(content_padding_addition="0-0", rekey_timeout=0) == PLAIN


@pytest.mark.parametrize("value", [[], {}, 1.5, float("nan"), "x", [1], "1" * 100])
@pytest.mark.parametrize("name", ["jc", "h1", "i1", "header_protection_key", "rekey_timeout", "random_trailers"])
def test_a_value_of_another_kind_is_refused_in_few_words(name, value):
    with pytest.raises(ParameterError, match=name) as caught:
        ObfuscationParameters.from_mapping({name: value})
    assert len(str(caught.value)) < 200


def test_a_parameter_that_nobody_knows_is_refused_rather_than_ignored():
    with pytest.raises(ParameterError, match="s5 = 12: no such parameter"):
        ObfuscationParameters.from_mapping({"s5": 12})
