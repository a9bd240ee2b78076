"""What helm shows of a node's rules is what nft lists there, letter by letter."""

from __future__ import annotations

import difflib
import json
import subprocess

import attrs
import pytest
from hypothesis import HealthCheck, given, settings

from pharos.wire.netpolicy import NetworkPlan
from pharos.wire.netrules import nft_document
from pharos.wire.nfttext import nft_text
from tests.support.netplans import PLAN, plans

pytestmark = pytest.mark.system

SCRIPT = "nft -j -f - && nft list table inet pharos"


def listed(plan: NetworkPlan) -> str:
    """Have nft take a plan in a network of its own, and list it."""
    command = ["unshare", "--net", "sh", "-c", SCRIPT]
    document = json.dumps(nft_document(plan))
    return subprocess.run(command, input=document, text=True, capture_output=True, check=True).stdout


def check(plan: NetworkPlan) -> None:
    theirs, ours = listed(plan), nft_text(plan)
    assert not [*difflib.unified_diff(theirs.splitlines(), ours.splitlines(), "nft", "ours", lineterm="")]
    assert ours == theirs


def test_plan_with_something_of_everything_is_spelt_alike() -> None:
    check(PLAN)
    check(attrs.evolve(PLAN, interfaces=("awg3", "awg1"), egress=("eth1", "eth0"), node_ports=(8443, 443)))
    check(NetworkPlan(interfaces=("awg0",)))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(plans)
def test_any_plan_is_spelt_alike(plan: NetworkPlan) -> None:
    check(plan)
