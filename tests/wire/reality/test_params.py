"""REALITY's parameters obey Xray's rules, and whatever breaks one is named with its key and its rule."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import ParameterError
from pharos.wire.reality.params import RealityParameters, generate, split_target
from tests.support.strategies import junk_json, quick, realities, reality_of

SAMPLE = RealityParameters(
    target="www.example.org:443", server_names=("www.example.org",), short_ids=("0123456789abcdef",), generation=1
)


@quick
@given(realities)
def test_parameters_survive_their_mapping(parameters: RealityParameters) -> None:
    assert RealityParameters.from_mapping(parameters.as_mapping()) == parameters


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("www.example.org:443", ("www.example.org", 443)),
        ("localhost:1", ("localhost", 1)),
        ("xn--bcher-kva.example:65535", ("xn--bcher-kva.example", 65535)),
        ("203.0.113.9:8443", ("203.0.113.9", 8443)),
        ("[2001:db8::9]:443", ("2001:db8::9", 443)),
        ("3com.example:443", ("3com.example", 443)),
    ],
)
def test_target_is_a_host_and_a_port(target: str, place: tuple[str, int]) -> None:
    assert split_target(attrs.evolve(SAMPLE, target=target).target) == place


@pytest.mark.parametrize(
    "target",
    [
        *("", "www.example.org", "www.example.org:", ":443", "www.example.org:0", "www.example.org:65536"),
        *("www.example.org:0443", "www.example.org:+443", "www.example.org:https", "www.example.org:443 "),
        *("WWW.example.org:443", "www.example.org.:443", "*.example.org:443", "-a.example:443", "a_b.example:443"),
        *("a..example:443", f"{'a' * 64}.example:443", f"{'a.' * 127}example:443", "http://www.example.org:443"),
        *(
            "2001:db8::9:443",
            "[2001:DB8::9]:443",
            "[2001:db8:0:0::9]:443",
            "[203.0.113.9]:443",
            "[www.example.org]:443",
        ),
        *("[fe80::1%eth0]:443", "203.0.113.09:443", "203.0.113:443", "1.2.3.4.5:443", "/run/site.sock", "a\nb:443"),
        *(None, 443, ["www.example.org:443"]),
    ],
)
def test_whatever_else_is_no_target(target: Any) -> None:
    with pytest.raises(ParameterError, match=r"^target = .*: must be host:port"):
        attrs.evolve(SAMPLE, target=target)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"server_names": ()}, "^server_names = .*1 to 8"),
        ({"server_names": tuple(f"n{number}.example" for number in range(9))}, "^server_names = .*1 to 8"),
        ({"server_names": ("a.example", "a.example")}, "^server_names = .*twice"),
        ({"server_names": "a.example"}, "^server_names = .*list"),
        ({"server_names": ("*.example.org",)}, "^server_names = .*no wildcards"),
        ({"server_names": ("A.example",)}, "^server_names = .*lower-case"),
        ({"server_names": ("203.0.113.9",)}, "^server_names = .*no addresses"),
        ({"server_names": ("2001:db8::9",)}, "^server_names = .*no addresses"),
        ({"server_names": ("",)}, "^server_names = ''"),
        ({"server_names": (5,)}, "^server_names = .*list of texts"),
        ({"short_ids": ()}, "^short_ids = .*1 to 8"),
        ({"short_ids": tuple(f"{number:02x}" for number in range(1, 10))}, "^short_ids = .*1 to 8"),
        ({"short_ids": ("abc",)}, "^short_ids = 'abc'.*even number"),
        ({"short_ids": ("0123456789abcdef00",)}, "^short_ids = .*0 to 16"),
        ({"short_ids": ("AB",)}, "^short_ids = .*lower-case"),
        ({"short_ids": ("xy",)}, "^short_ids = .*hexadecimal"),
        ({"short_ids": ("ab", "ab00")}, "^short_ids = .*twice"),
        ({"short_ids": ("", "00")}, "^short_ids = .*twice"),
        ({"generation": 0}, "^generation = 0"),
        ({"generation": 2**32}, "^generation = 4294967296"),
        ({"generation": True}, "^generation = True"),
        ({"generation": "1"}, "^generation = '1'"),
    ],
)
def test_broken_rule_is_named_with_its_key_and_value(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        attrs.evolve(SAMPLE, **change)


def test_shortest_and_longest_ids_are_good() -> None:
    assert attrs.evolve(SAMPLE, short_ids=("", "ab", "0123456789abcdef")).short_ids[0] == ""


def test_mapping_with_another_name_or_without_one_is_refused() -> None:
    with pytest.raises(ParameterError, match="private_key = 'x': no such parameter"):
        RealityParameters.from_mapping(SAMPLE.as_mapping() | {"private_key": "x"})
    with pytest.raises(ParameterError, match="generation, target: must be there"):
        RealityParameters.from_mapping({"server_names": ["a.example"], "short_ids": ["ab"]})


@quick
@given(st.sampled_from(["target", "server_names", "short_ids", "generation"]), junk_json)
def test_junk_is_parameters_or_one_error(name: str, junk: Any) -> None:
    with contextlib.suppress(ParameterError):
        made = RealityParameters.from_mapping(SAMPLE.as_mapping() | {name: junk})
        assert RealityParameters.from_mapping(made.as_mapping()) == made


def test_what_follows_has_another_id_and_the_next_generation() -> None:
    first = generate(os.urandom, target="www.example.org:443")
    assert (first.server_names, first.generation) == (("www.example.org",), 1)
    second = generate(os.urandom, target="203.0.113.9:443", server_names=["www.example.org"], after=first.generation)
    assert (second.target, second.server_names, second.generation) == ("203.0.113.9:443", ("www.example.org",), 2)
    assert len(second.short_ids[0]) == 16
    assert second.short_ids != first.short_ids
    with pytest.raises(ParameterError, match="no addresses"):
        generate(os.urandom, target="203.0.113.9:443")
    with pytest.raises(ParameterError, match="generation"):
        generate(os.urandom, target="www.example.org:443", after=2**32 - 1)


def test_randomness_is_what_it_is_given() -> None:
    assert reality_of(1) == reality_of(1) != reality_of(2)
