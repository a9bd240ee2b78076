"""The certificate that strangers are shown: stable where it is ours, fresh where it is the operator's."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import pytest
from cryptography import x509

from pharos.beacon.config import BeaconConfig
from pharos.beacon.decoy.certificate import LOOK, RENEW_BEFORE, DecoyCertificate, operators_certificate, own_certificate
from pharos.wire.config import read_config
from pharos.wire.errors import ConfigError, StateFileError
from tests.support.decoy import stranger_context
from tests.support.pki import home_fleet, utc_now
from tests.support.rpc import ThrowawayCa
from tests.support.tls import shake_hands


def shown(certificate: DecoyCertificate, now: float = 0.0) -> bytes:
    client, _ = shake_hands(certificate.context(now), stranger_context("h2"), server_hostname="example.org")
    der = client.getpeercert(binary_form=True)
    assert der is not None
    return der


def test_our_own_is_the_same_after_a_restart_and_until_it_nearly_ends(tmp_path: Path) -> None:
    clock = utc_now()
    first = shown(own_certificate(tmp_path, wall=lambda: clock, now=0.0))
    again = own_certificate(tmp_path, wall=lambda: clock, now=0.0)
    assert shown(again) == first
    assert (tmp_path / "decoy.json").stat().st_mode & 0o777 == 0o600
    parsed = x509.load_der_x509_certificate(first)
    assert parsed.subject == parsed.issuer
    clock = parsed.not_valid_after_utc - RENEW_BEFORE + datetime.timedelta(days=1)
    # It is looked at now and then, without a restart.
    assert shown(again, LOOK - 1) == first
    renewed = shown(again, LOOK)
    assert x509.load_der_x509_certificate(renewed).not_valid_after_utc > clock + RENEW_BEFORE
    assert shown(own_certificate(tmp_path, wall=lambda: clock, now=0.0)) == renewed


def test_our_own_says_nothing_of_the_fleet(tmp_path: Path) -> None:
    der = shown(own_certificate(tmp_path, wall=utc_now, now=0.0)).lower()
    assert not any(word in der for word in (b"pharos", b"spiffe", b".internal", home_fleet().id.encode()))


def test_our_own_that_is_damaged_is_left_alone(tmp_path: Path) -> None:
    own_certificate(tmp_path, wall=utc_now, now=0.0)
    (tmp_path / "decoy.json").write_bytes(b"{}")
    with pytest.raises(StateFileError, match="remove it"):
        own_certificate(tmp_path, wall=utc_now, now=0.0)
    assert (tmp_path / "decoy.json").read_bytes() == b"{}"


@pytest.fixture
def operators(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "site.pem", tmp_path / "site.key"


def put(files: tuple[Path, Path], name: str) -> None:
    pems = ThrowawayCa().issue(name)
    for path, data in zip(files, (pems.certificate, pems.key), strict=True):
        path.write_bytes(data)
        # Two writes within one tick of the file system's clock look alike.
        os.utime(path, ns=(0, hash(name) & 0xFFFFFFFF))


def test_operators_is_shown_and_read_again_when_its_files_change(
    operators: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    put(operators, "first.example")
    certificate = operators_certificate(str(operators[0]), str(operators[1]), now=0.0)
    assert b"first.example" in shown(certificate)
    put(operators, "second.example")
    assert b"first.example" in shown(certificate, LOOK - 1)
    assert b"second.example" in shown(certificate, LOOK)
    # Half of a change is no change.
    operators[1].write_bytes(b"nothing")
    assert b"second.example" in shown(certificate, 2 * LOOK)
    assert "cannot be read" in caplog.text
    operators[1].unlink()
    assert b"second.example" in shown(certificate, 3 * LOOK)
    put(operators, "third.example")
    assert b"third.example" in shown(certificate, 4 * LOOK)


def test_files_that_do_not_belong_together_are_refused(operators: tuple[Path, Path]) -> None:
    put(operators, "first.example")
    key = operators[1].read_bytes()
    put(operators, "second.example")
    operators[1].write_bytes(key)
    with pytest.raises(ConfigError, match=r"decoy_certificate = .*site\.pem"):
        operators_certificate(str(operators[0]), str(operators[1]), now=0.0)
    with pytest.raises(ConfigError, match="No such file"):
        operators_certificate("/nowhere.pem", "/nowhere.key", now=0.0)


# -- settings


@pytest.mark.parametrize(
    ("toml", "why"),
    [
        ('decoy_certificate = "/a.pem"', "belong together"),
        ('decoy_key = "/a.key"', "belong together"),
        ('decoy_server = ""', "calls itself"),
        (r'decoy_server = "nginx\r\nX-Evil: 1"', "calls itself"),
        ('decoy_server = "<script>"', "calls itself"),
        ('decoy_server = "nginx\u00e9"', "calls itself"),
        ("decoy_site = 3", "not of type str"),
        ("ingress_ports = 8443", "is not a list of ports"),
        ('ingress_ports = ["8443"]', "is not a list of ports"),
        ("ingress_ports = [true]", "is not a list of ports"),
        ("ingress_ports = [65536]", "is not a port"),
        ("ingress_ports = [443]", "have to differ"),
        ("ingress_ports = [8443, 8443]", "have to differ"),
        ("ingress_ports = [7444]", "have to differ"),
        (f"ingress_ports = {list(range(1000, 1017))}", "more than 16"),
    ],
)
def test_setting_that_makes_no_sense_is_refused(tmp_path: Path, toml: str, why: str) -> None:
    (tmp_path / "beacon.toml").write_text(toml + "\n")
    with pytest.raises(ConfigError, match=why):
        read_config(BeaconConfig, tmp_path / "beacon.toml", {})


def test_ports_of_clients_are_the_recorded_one_and_others(tmp_path: Path) -> None:
    (tmp_path / "beacon.toml").write_text("ingress_ports = [8443, 993]\n")
    config = read_config(BeaconConfig, tmp_path / "beacon.toml", {})
    assert config.all_ingress_ports == (443, 8443, 993)
    overridden = read_config(BeaconConfig, tmp_path / "beacon.toml", {"ingress_ports": (853,), "ingress_port": 444})
    assert overridden.all_ingress_ports == (444, 853)
