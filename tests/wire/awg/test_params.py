import random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg.messages import CORE_BYTES, MessageKind
from pharos.wire.awg.params import PLAIN, ObfuscationParameters, generate
from pharos.wire.errors import ParameterError


def test_the_defaults_are_plain_wireguard():
    assert ObfuscationParameters() == PLAIN
    assert [PLAIN.header(kind) for kind in MessageKind] == [1, 2, 3, 4]
    assert [PLAIN.padding(kind) for kind in MessageKind] == [0, 0, 0, 0]
    assert PLAIN.jc == 0


@pytest.mark.parametrize(
    ("values", "key", "rule"),
    [
        ({"jc": 129}, "jc = 129", "from 0 to 128"),
        ({"jc": -1}, "jc = -1", "from 0 to 128"),
        ({"jmin": 51, "jmax": 50}, "jmin = 51", "not be above jmax"),
        ({"jmax": 1280}, "jmax = 1280", "from 0 to 1279"),
        ({"s1": 1133}, "s1 = 1133", "from 0 to 1132"),
        ({"s2": 1189}, "s2 = 1189", "from 0 to 1188"),
        ({"s1": 10, "s2": 66}, "s2 = 66", "padded sizes must differ"),
        ({"h1": 2**32}, "h1 = 4294967296", "from 0 to 4294967295"),
        ({"h1": 7, "h3": 7}, "h3 = 7", "must differ from h1"),
        ({"h1": 2, "h2": 1}, "h1 = 2", "must be 1, as in WireGuard, or from 5 up"),
        ({"h4": 0}, "h4 = 0", "must be 4, as in WireGuard, or from 5 up"),
        ({"s1": True}, "s1 = True", "whole number"),
        ({"s1": "15"}, "s1 = '15'", "whole number"),
    ],
)
def test_a_broken_rule_is_named_with_key_and_value(values, key, rule):
    with pytest.raises(ParameterError) as caught:
        ObfuscationParameters(**values)
    assert key in str(caught.value)
    assert rule in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"jc": 128, "jmin": 1279, "jmax": 1279},
        {"s1": 1132},
        {"s2": 1188},
        {"h1": 5, "h2": 2**32 - 1},
        {"s1": 10, "s2": 67},
    ],
)
def test_the_edge_of_each_rule_is_allowed(values):
    assert attrs.evolve(PLAIN, **values).as_mapping() == PLAIN.as_mapping() | values


@given(st.integers())
def test_generated_parameters_are_good_and_survive_a_round_trip(seed):
    parameters = generate(random.Random(seed).randbytes)
    assert ObfuscationParameters.from_mapping(parameters.as_mapping()) == parameters
    assert 4 <= parameters.jc <= 10
    assert all(5 <= parameters.header(kind) < 2**31 for kind in MessageKind)
    padded = {size + parameters.padding(kind) for kind, size in CORE_BYTES.items() if kind != 3}
    assert padded.isdisjoint(CORE_BYTES.values())


def test_zero_in_a_mapping_means_plain_wireguard():
    assert ObfuscationParameters.from_mapping({"h1": 0, "jc": 0, "s1": 0}) == PLAIN
    assert ObfuscationParameters.from_mapping({}) == PLAIN


def test_a_parameter_of_a_later_generation_is_refused_rather_than_ignored():
    with pytest.raises(ParameterError, match="s4 = 12: no such parameter"):
        ObfuscationParameters.from_mapping({"s4": 12})
