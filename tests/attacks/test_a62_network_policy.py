"""Row 62. Position: whoever may name a network, a resolver or an interface of a node. Wants: a rule of his own.

nft runs as root, and what it reads is a language. Countermeasure: the document is nft's JSON, in which a value cannot
end a rule and begin another; and because some texts mean more than themselves there too (`@set`, `eth*`, a name that
is looked up), a plan takes addresses, networks and names of interfaces only, each in its usual spelling.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire import netpolicy
from pharos.wire.desired import Policy
from pharos.wire.netpolicy import NetworkPlan, Target
from pharos.wire.netrules import nft_document
from tests.support.netplans import PLAN
from tests.support.strategies import quick
from tests.system.lab.commands import CommandError
from tests.system.lab.network import Lab, open_lab
from tests.system.needs import missing_for_lab

CANARY = "canary"
# The end of a set, a rule, a chain and a table; a table of the attacker's own, and what is left of the line behind it.
PAYLOADS = [
    f"198.51.100.1 }} accept\n}}\n}}\ntable inet {CANARY} {{\nchain x {{\n#",
    f'198.51.100.1"}}]}}]}}}},{{"add":{{"table":{{"family":"inet","name":"{CANARY}"}}}}}},{{"x":"',
    f"198.51.100.1 }} accept; }}; }}; add table inet {CANARY}; #",
]
# What nft's JSON takes for more than a text.
MEANINGS = ["@inside4", "@resolvers4", "*", "eth*", "localhost", "$x", "0x7f000001", "0/0", "198.51.100.1-198.51.100.9"]


def closed(text: str) -> dict[str, Any]:
    return {"policy": Policy(closed=(text,))}


def resolver(text: str) -> dict[str, Any]:
    return {"policy": Policy(resolvers=(text,))}


FIELDS: dict[str, Callable[[str], dict[str, Any]]] = {
    "interfaces": lambda text: {"interfaces": (text,)},
    "networks": lambda text: {"networks": (text,)},
    "addresses": lambda text: {"addresses": (text,)},
    "closed": closed,
    "resolvers": resolver,
    "own_resolvers": lambda text: {"own_resolvers": (text,)},
    "allowed": lambda text: {"allowed": (text,)},
    "egress": lambda text: {"egress": (text,)},
    "node_ports": lambda text: {"node_ports": (text,)},
    "confined": lambda text: {"confined": (text,)},
    "allowed_users": lambda text: {"allowed_users": (text,)},
    "machine_resolvers": lambda text: {"machine_resolvers": (text,)},
    "targets": lambda text: {"targets": (Target(address=text, port=443),)},
}


def render_text(closed: str, egress: str) -> str:
    """Weakened: a build that writes nft's language, as most do."""
    return (
        "table inet pharos {\nchain from_devices {\ntype filter hook forward priority 0;\n"
        f"ip daddr {{ {closed} }} drop\noifname {egress} accept\n}}\n}}\n"
    )


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("field", FIELDS)
def test_a62_no_value_that_becomes_a_rule_is_taken(field: str, payload: str) -> None:
    for text in (payload, f"fe80::1%{payload}", f"fe80::%{payload}/64", f"awg0{payload}", f"eth0 {payload}"):
        with pytest.raises(ValueError):
            attrs.evolve(PLAN, **FIELDS[field](text))


@pytest.mark.parametrize("meaning", MEANINGS)
@pytest.mark.parametrize("field", FIELDS)
def test_a62_no_value_that_means_more_than_itself_is_taken(field: str, meaning: str) -> None:
    if field == "egress" and meaning in ("localhost", "0x7f000001"):
        # Names like any other there.
        return
    with pytest.raises(ValueError):
        attrs.evolve(PLAN, **FIELDS[field](meaning))


@quick
@given(st.sampled_from(sorted(FIELDS)), st.text(max_size=30))
def test_a62_whatever_text_is_taken_is_a_value_and_adds_no_rule(field: str, text: str) -> None:
    try:
        plan = attrs.evolve(PLAN, **FIELDS[field](text))
    except ValueError:
        return
    # Nothing is added anywhere that is not added for harmless values.
    assert {*kinds(plan)} <= {*kinds(PLAN)}
    assert len(kinds(plan)) <= len(kinds(PLAN))


def kinds(plan: NetworkPlan) -> list[tuple[str, Any]]:
    """Return what the document adds, and where."""
    commands = [one["add"] for one in nft_document(plan)["nftables"] if "add" in one]
    return [(kind, what.get("chain", what.get("name"))) for one in commands for kind, what in one.items()]


def test_a62_turns_red_without_the_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    # JSON alone is not enough: each of these is one value, and opens every way out.
    monkeypatch.setattr(netpolicy, "_check_egress", lambda name: None)
    written = json.dumps(nft_document(attrs.evolve(PLAN, egress=("*",))))
    assert '{"set": ["*"]}' in written


def test_a62_the_order_itself_keeps_out_what_only_looks_like_an_address() -> None:
    # The standard library takes any zone at all.
    assert ipaddress.IPv6Address(f"fe80::1%{PAYLOADS[0]}").scope_id == PAYLOADS[0]
    with pytest.raises(ValueError):
        Policy(resolvers=(f"fe80::1%{PAYLOADS[0]}",))


# -- what nft itself makes of it


async def load(lab: Lab, *words: str, rules: str) -> str:
    """Have nft read something on a machine without rules, and return the tables that it has then."""
    await lab.run("buoya", "nft", "flush", "ruleset")
    try:
        await lab.run("buoya", "nft", *words, "-f", "-", stdin=rules)
    except CommandError:
        return ""
    return await lab.run("buoya", "nft", "list", "tables")


@pytest.mark.system
@pytest.mark.red_inside
async def test_a62_a_build_that_renders_text_takes_the_rule_and_ours_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (missing := missing_for_lab()) is not None:
        pytest.skip(missing)
    with trio.fail_after(60):
        async with open_lab(tmp_path) as lab:
            assert CANARY in await load(lab, rules=render_text(PAYLOADS[0], "eth0"))
            assert CANARY not in await load(lab, rules=render_text("198.51.100.1", "eth0"))
            assert "inet pharos" in await load(lab, "-j", rules=json.dumps(nft_document(PLAN)))
            # Nor would it with the checks gone: the value is one value, and nft refuses all of the document.
            monkeypatch.setattr(netpolicy, "_check_egress", lambda name: None)
            for payload in PAYLOADS:
                hostile = attrs.evolve(PLAN, egress=(payload,))
                assert CANARY not in await load(lab, "-j", rules=json.dumps(nft_document(hostile)))
