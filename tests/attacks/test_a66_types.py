"""Row 66, by the types. Position: whoever reads what a program prints of its own values: a log line, a traceback.

Countermeasure: whatever holds a secret leaves it out of its text, so that nobody has to think of it where it is logged.
Every class of the product is looked at, and values of those that hold keys are printed in each way there is; nothing is
ever pickled.

Takes 2 s.
"""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

import pharos
from pharos.caravel.profiles.store import generate_secrets
from pharos.helm.ca.vault import RecoveryKit, Vault
from pharos.wire.awg.keys import StaticKey
from pharos.wire.noise.keys import KeyPair
from pharos.wire.seal.atrest import StoreKey
from pharos.wire.seal.lock import LockKey
from tests.attacks.test_a66_client_secrets import told
from tests.wire.seal.test_ticket import TICKET

SECRET_NAMES = re.compile(r"(^|_)(private|preshared|secret|psk|password|passphrase|seed|proof)(_key|_mac)?$")
PLAIN = re.compile(r"\b(bytes|str)\b")
SHOWN_TO_ALL = {("AgentRequest", "key_proof")}
"""Named like a secret, and sent in clear: what proves that a machine has the keys that it asks with."""


def classes() -> Iterator[type]:
    """Give every class of the product that attrs made."""
    for found in pkgutil.walk_packages(pharos.__path__, "pharos."):
        if ".gen." in found.name or found.name.endswith("__main__"):
            continue
        for value in vars(importlib.import_module(found.name)).values():
            if isinstance(value, type) and attrs.has(value) and value.__module__ == found.name:
                yield value


def printed_secrets(kind: type) -> set[tuple[str, str]]:
    """Return the fields, by class and name, that look like a secret in octets or text and would be printed."""
    fields = attrs.fields(kind)
    if "attrs generated" not in getattr(getattr(kind.__repr__, "__code__", None), "co_filename", ""):
        # It has a text of its own, which is looked at below, or none that shows a field.
        return set()
    return {
        (kind.__qualname__, field.name)
        for field in fields
        if field.repr and SECRET_NAMES.search(field.name) and PLAIN.search(str(field.type))
    }


def test_a66_no_class_prints_what_is_named_like_a_secret() -> None:
    kinds = set(classes())
    assert len(kinds) > 500
    assert set().union(*map(printed_secrets, kinds)) == SHOWN_TO_ALL


def test_a66_turns_red_at_a_class_that_was_written_without_a_thought() -> None:
    @attrs.frozen
    class Careless:
        private_key: bytes
        note: str

    assert {name for _, name in printed_secrets(Careless)} == {"private_key"}
    assert any(text in repr(Careless(bytes(range(32)), "")).encode() for text in told(bytes(range(32))))


RAW = bytes(range(100, 132))


def holders() -> dict[str, tuple[Any, list[bytes]]]:
    """Values that hold a secret, and the secrets."""
    device, kit = generate_secrets(), RecoveryKit.create()
    keys = TICKET.keys()
    pairs = [getattr(device, name).private_bytes() for name in ("sealing", "derive", "noise", "awg")]
    return {
        "KeyPair": (KeyPair.from_private_bytes(RAW), [RAW]),
        "Vault": (Vault(RAW), [RAW]),
        "RecoveryKit": (kit, [kit._secret, kit.printed().encode()]),
        "TicketLink": (TICKET, [TICKET.secret]),
        "TicketKeys": (keys, [keys.psk, keys.proof]),
        "DeviceSecrets": (device, [*pairs, device.tls]),
        "StaticKey": (StaticKey(RAW), [RAW]),
        "StoreKey": (StoreKey(RAW), [RAW]),
        "LockKey": (LockKey(RAW), [RAW]),
    }


HOLDERS = holders()


@pytest.mark.parametrize("name", HOLDERS)
def test_a66_value_that_holds_a_key_prints_none_of_it(name: str) -> None:
    value, secrets = HOLDERS[name]
    try:
        raise ValueError(value)
    except ValueError as error:
        raised = "".join(traceback.format_exception(error))
    said = "\n".join([repr(value), str(value), f"{value!a}", repr([value]), "%s" % (value,), raised]).encode()  # noqa: UP031
    with pytest.raises(TypeError):
        json.dumps(value)
    assert [secret for secret in secrets if any(text in said for text in told(secret))] == []


PICKLERS = {"pickle", "cPickle", "marshal", "shelve", "dill", "copyreg"}


def picklers_in(source: str) -> set[str]:
    """Return the modules that a program would write whole values by."""
    imported: set[str] = set()
    if not any(word in source for word in PICKLERS):
        return imported
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    return imported & PICKLERS


def test_a66_nothing_is_pickled() -> None:
    assert picklers_in("import trio, pickle\nfrom marshal import dumps") == {"pickle", "marshal"}
    sources = sorted(Path(pharos.__file__).parent.rglob("*.py"))
    assert len(sources) > 300
    assert {path.name for path in sources if picklers_in(path.read_text(encoding="utf-8"))} == set()
