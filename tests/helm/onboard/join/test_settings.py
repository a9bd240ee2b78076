"""Keys in a settings file change, and nothing else in it."""

from __future__ import annotations

import tomllib

from pharos.helm.onboard.join.settings import set_keys

FILE = '# Settings.\n\n# TCP, where clients arrive.\n#ingress_port = 443\n\n# More.\n#ingress_ports = []\nhost = "::"\n'


def test_key_that_is_commented_out_is_set_where_it_stands() -> None:
    text = set_keys(FILE, {"ingress_port": 8443})
    assert text == FILE.replace("#ingress_port = 443", "ingress_port = 8443")
    assert set_keys(text, {"ingress_port": 8443}) == text


def test_key_that_somebody_set_is_set_anew() -> None:
    text = set_keys("ingress_port = 853 # as before\n", {"ingress_port": 8443})
    assert text == "ingress_port = 8443\n"


def test_key_that_is_not_there_comes_before_all_else() -> None:
    text = set_keys("[table]\nkey = 1\n", {"ingress_port": 8443})
    assert tomllib.loads(text) == {"ingress_port": 8443, "table": {"key": 1}}
