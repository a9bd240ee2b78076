"""helm nodes check-target, with helm asleep."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
import trio
from click.testing import Result

from pharos.helm.cli import main
from pharos.helm.cli.targets import with_port
from pharos.wire.console import Exit
from tests.support.commands import invoke, invoke_json
from tests.support.helm import node_request
from tests.support.sites import HOST, SITE_NAME, running_tls, site_context, trust_of_the_system

OTHER_NAME = "other.site.test"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    invoke_json(main, "init", "--state", tmp_path / "helm")
    return tmp_path / "helm"


async def check(state: Path, *arguments: object) -> Result:
    """Run the command in a thread, for it blocks."""
    return await trio.to_thread.run_sync(
        functools.partial(invoke, main, "nodes", "check-target", "--state", state, *arguments)
    )


async def test_usable_is_0_and_the_reasons_are_told(
    state: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trust_of_the_system(monkeypatch, tmp_path)
    async with running_tls(site_context(SITE_NAME, OTHER_NAME)) as port:
        target = f"{HOST}:{port}"
        told = await check(state, target, "--name", SITE_NAME)
        both = await check(state, target, "--name", SITE_NAME, "--name", OTHER_NAME)
        shown = await check(state, target, "--name", SITE_NAME, "--json")
    assert told.exit_code == Exit.DONE, told.output
    assert "speaks TLS 1.3" in told.stdout
    assert f"REALITY can stand before {target}\n" in told.stdout
    assert SITE_NAME not in told.stdout
    assert both.exit_code == Exit.DONE
    assert OTHER_NAME in both.stdout
    assert "answers alike by all names" in both.stdout
    assert json.loads(shown.stdout)["usable"] is True


async def test_not_usable_is_1(state: Path) -> None:
    async with running_tls(site_context(SITE_NAME)) as port:
        # Nobody trusts its authority here.
        told = await check(state, f"{HOST}:{port}", "--name", SITE_NAME)
        shown = await check(state, f"{HOST}:{port}", "--name", SITE_NAME, "--json")
    assert told.exit_code == shown.exit_code == Exit.FAILED
    assert "has a certificate that browsers would refuse" in told.stdout
    assert f"Error: REALITY cannot stand before {HOST}:{port}: 1 reason above" in told.stderr
    assert json.loads(shown.stdout)["usable"] is False


def test_a_node_that_is_away_is_unreachable(state: Path) -> None:
    address = ["--address", HOST, "--name", "amsterdam", "--control-port", "1"]
    invoke(main, "nodes", "admit", "--state", state, "--request", "-", *address, stdin=node_request().render())
    result = invoke(main, "nodes", "check-target", "--state", state, SITE_NAME, "--from", "amsterdam")
    assert result.exit_code == Exit.UNREACHABLE
    assert "node amsterdam does not answer" in result.output


def test_a_node_that_is_not_there_is_said_not_to_be(state: Path) -> None:
    result = invoke(main, "nodes", "check-target", "--state", state, SITE_NAME, "--from", "nowhere")
    assert result.exit_code == Exit.FAILED
    assert "there is no node 'nowhere'" in result.output


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("www.site.test", "www.site.test:443"),
        ("www.site.test:8443", "www.site.test:8443"),
        ("203.0.113.9", "203.0.113.9:443"),
        ("2001:db8::9", "[2001:db8::9]:443"),
        ("[2001:db8::9]", "[2001:db8::9]:443"),
        ("[2001:db8::9]:8443", "[2001:db8::9]:8443"),
    ],
)
def test_the_port_of_tls_need_not_be_said(said: str, meant: str) -> None:
    assert with_port(said) == meant
