"""`helm admins certificate` writes what a browser takes, and `helm run --web-tls` knows it."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import stat
from pathlib import Path

import pytest
import trio
from cryptography import x509

from pharos.demo.processes import free_port
from pharos.helm.cli import main
from pharos.wire.console import Exit
from tests.support.commands import invoke, invoke_json, running_program
from tests.support.webtls import browser_context, gets_in, opened


@pytest.fixture
def state(tmp_path: Path) -> Path:
    invoke_json(main, "init", "--state", tmp_path / "helm")
    return tmp_path / "helm"


def test_key_and_what_the_page_shows_are_written_side_by_side(state: Path, tmp_path: Path) -> None:
    out = tmp_path / "owner.p12"
    shown = invoke(main, "admins", "certificate", "owner", "--out", out, "--state", state)
    assert shown.exit_code == 0, shown.output
    password = next(line.rpartition(" ")[2] for line in shown.output.splitlines() if "shown once" in line)
    opened(out.read_bytes(), password)
    page = x509.load_pem_x509_certificate((tmp_path / "localhost.pem").read_bytes())
    assert page.subject == page.issuer
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("owner.p12", "localhost.pem")]
    assert modes == [0o600, 0o644]
    # Nothing is written over.
    assert invoke(main, "admins", "certificate", "owner", "--out", out, "--state", state).exit_code == Exit.USAGE
    opened(out.read_bytes(), password)


def test_password_may_be_asked_for_and_is_then_not_shown(state: Path, tmp_path: Path) -> None:
    words = ("admins", "certificate", "owner", "--out", tmp_path / "a.p12", "--old", "--ask", "--state", state)
    chosen = "correct horse battery"
    shown = invoke(main, *words, stdin=f"{chosen}\n{chosen}\n")
    assert shown.exit_code == 0, shown.output
    assert chosen not in shown.output
    opened((tmp_path / "a.p12").read_bytes(), chosen)
    short = ("admins", "certificate", "owner", "--out", tmp_path / "b.p12", "--ask", "--state", state)
    assert invoke(main, *short, stdin="short\nshort\n").exit_code == Exit.FAILED
    assert not (tmp_path / "b.p12").exists()


def test_certificates_are_listed_and_revoked_by_their_first_digits(state: Path, tmp_path: Path) -> None:
    made = [
        invoke_json(main, "admins", "certificate", "owner", "--out", tmp_path / f"{n}.p12", "--state", state)["id"]
        for n in range(2)
    ]
    assert made[0][:8] in invoke(main, "admins", "certificates", "owner", "--state", state).output
    for wrong in (made[0][:7], "00000000", "zzzzzzzz"):
        refused = invoke(main, "admins", "revoke-certificate", "owner", wrong, "--yes", "--state", state)
        assert refused.exit_code == Exit.FAILED
    gone = invoke(main, "admins", "revoke-certificate", "owner", made[0][:8].upper(), "--yes", "--state", state)
    assert gone.exit_code == 0, gone.output
    left = invoke_json(main, "admins", "certificates", "owner", "--state", state)
    assert [one["id"] for one in left] == made[1:]


def test_link_leads_where_the_page_is(state: Path) -> None:
    for words in (("link", "owner"), ("add", "bob")):
        link = invoke_json(main, "admins", *words, "--web-tls", "--web-port", 9000, "--state", state)["link"]
        assert link.startswith("https://localhost:9000/#link=")


def test_helm_serves_by_tls_as_its_file_says_and_revokes_while_it_runs(state: Path, tmp_path: Path) -> None:
    out, port = tmp_path / "owner.p12", free_port(socket.SOCK_STREAM)
    made = invoke_json(main, "admins", "certificate", "owner", "--out", out, "--state", state)
    page = x509.load_pem_x509_certificate((tmp_path / "localhost.pem").read_bytes())
    context: ssl.SSLContext = browser_context(page, opened(out.read_bytes(), made["password"]))
    config = tmp_path / "helm.toml"
    config.write_text(f'web_tls = true\nweb_port = {port}\nbeacon = "off"\n')
    with running_program("helm", "run", "--state", state, "--config", config) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "https://" in line)
        assert line.rstrip().endswith(f"https://127.0.0.1:{port}")
        assert trio.run(gets_in, port, context)
        assert not trio.run(gets_in, port, browser_context(page, None))
        invoke(main, "admins", "revoke-certificate", "owner", made["id"], "--yes", "--state", state)
        assert not trio.run(gets_in, port, context)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_origin_that_is_none_stops_the_start(state: Path, tmp_path: Path) -> None:
    config = tmp_path / "helm.toml"
    config.write_text(f"web_origins = {json.dumps(['http://a.example/'])}")
    refused = invoke(main, "run", "--state", state, "--config", config)
    assert (refused.exit_code, "is no origin such as" in refused.output) == (Exit.FAILED, True)
    config.write_text(f"web_origins = {json.dumps(['http://localhost:9000'])}")
    refused = invoke(main, "run", "--state", state, "--web-tls", "--config", config)
    assert (refused.exit_code, "served as https" in refused.output) == (Exit.FAILED, True)
