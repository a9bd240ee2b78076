"""Xray's rules, each with a value that breaks it; a real Xray, where there is one, takes whatever we take."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pharos.buoy.xray.model import render
from pharos.buoy.xray.observe import make_pipe
from pharos.buoy.xray.runner import dry_run
from pharos.buoy.xray.validate import check_document, check_rendered
from pharos.wire.desired import Policy
from pharos.wire.errors import ParameterError
from tests.buoy.xray.rig import ALICE, BOB, OLD_KEY, config, endpoint, users
from tests.support.xray import PROGRAM, needs_xray

RUNTIME = Path("/run/pharos-xray")
KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"

Edit = Callable[[dict[str, Any]], None]


def reality(**values: Any) -> Edit:
    return lambda document: document["inbounds"][1]["streamSettings"]["realitySettings"].update(values)


def client(**values: Any) -> Edit:
    return lambda document: document["inbounds"][1]["settings"]["clients"][0].update(values)


def inbound(**values: Any) -> Edit:
    return lambda document: document["inbounds"][1].update(values)


def second(**values: Any) -> Edit:
    return lambda document: document["inbounds"][2].update(values)


def without(*path: Any) -> Edit:
    def edit(document: dict[str, Any]) -> None:
        *outer, last = path
        where: Any = document
        for key in outer:
            where = where[key]
        del where[last]

    return edit


BROKEN: dict[str, Edit] = {
    "key with padding": reality(privateKey=KEY + "="),
    "key of 31 octets": reality(privateKey=KEY[:42]),
    "key of 33 octets": reality(privateKey=KEY + "A"),
    "key of other letters": reality(privateKey="+" + KEY[1:]),
    "no key": reality(privateKey=""),
    "no short id": reality(shortIds=[]),
    "odd short id": reality(shortIds=["abc"]),
    "short id that is no hexadecimal": reality(shortIds=["xy"]),
    "short id at which old ones crash": reality(shortIds=["00" * 9]),
    "same short id twice": reality(shortIds=["ab", "ab00"]),
    "short ids that are a text": reality(shortIds="ab"),
    "no name": reality(serverNames=[]),
    "wildcard": reality(serverNames=["*.site.test"]),
    "address as a name": reality(serverNames=["192.0.2.1"]),
    "empty name": reality(serverNames=[""]),
    "target without a port": reality(target="www.site.test"),
    "target with a port's name": reality(target="www.site.test:https"),
    "target that is a port": reality(target=443),
    "target that is a file": reality(target="/run/secret.sock"),
    "target in the abstract": reality(target="@secret"),
    "proxy protocol": reality(xver=1),
    "no clock": reality(maxTimeDiff=0),
    "clock as a text": reality(maxTimeDiff="60000"),
    "clock as a truth": reality(maxTimeDiff=True),
    "clock that is an hour off": reality(maxTimeDiff=3_600_000),
    "no oldest client": without("inbounds", 1, "streamSettings", "realitySettings", "minClientVer"),
    "oldest client that is none": reality(minClientVer=""),
    "oldest client of two numbers": reality(minClientVer="1.8"),
    "oldest client of four numbers": reality(minClientVer="1.8.0.0"),
    "oldest client above an octet": reality(minClientVer="1.256.0"),
    "newest client": reality(maxClientVer="1.8.0"),
    "tells of everything": reality(show=True),
    "flow of the client's side": client(flow="xtls-rprx-vision-udp443"),
    "no flow": client(flow=""),
    "id that Xray would hash": client(id="short"),
    "id of other spelling": client(id="11111111-2222-4333-8444-55555555555A"),
    "id of no one's": client(id=""),
    "id of another's": lambda document: client(id=document["inbounds"][1]["settings"]["clients"][1]["id"])(document),
    "id of another's but for what Xray does not see": client(id="00000002-2222-ffff-8444-555555555555"),
    "name of another's": client(email="bob"),
    "name in capitals": client(email="Alice"),
    "no name of a user": client(email=""),
    "level": client(level=1),
    "encryption": lambda document: document["inbounds"][1]["settings"].update(decryption="mlkem768x25519plus.native"),
    "port 0": inbound(port=0),
    "port above all": inbound(port=65_536),
    "ports": inbound(port="443-445"),
    "port of the environment": inbound(port="env:PORT"),
    "listens at a name": inbound(listen="localhost"),
    "listens at a file": inbound(listen="/run/open.sock"),
    "listens at a zone": inbound(listen="fe80::1%eth0"),
    "sniffs": inbound(sniffing={"enabled": True}),
    "other protocol": inbound(protocol="vmess"),
    "same port twice": second(port=443),
    "same tag twice": lambda document: second(tag=document["inbounds"][1]["tag"])(document),
    "tag of the API": second(tag="api"),
    "four endpoints": lambda document: document["inbounds"].extend(document["inbounds"][1:] * 2),
    "other network": lambda document: document["inbounds"][1]["streamSettings"].update(network="ws"),
    "no REALITY": lambda document: document["inbounds"][1]["streamSettings"].update(security="none"),
    "no door": without("inbounds", 0),
    "no statistics": without("stats"),
    "no counters": lambda document: document["policy"]["levels"]["0"].update(statsUserUplink=False),
    "other level": lambda document: document["policy"]["levels"].update({"1": {}}),
    "debugging": lambda document: document["log"].update(loglevel="info"),
    "names in the log": lambda document: document["log"].update(dnsLog=True),
    "errors in a file": lambda document: document["log"].update(error="/tmp/error.log"),
    "freedom that leads elsewhere": lambda document: document["outbounds"][1]["settings"].update(
        redirect="127.0.0.1:1"
    ),
    "freedom first": lambda document: document["outbounds"].reverse(),
    "rules by name only": lambda document: document["routing"].update(domainStrategy="AsIs"),
    "private networks open": lambda document: document["routing"]["rules"][1]["ip"].remove("10.0.0.0/8"),
    "everything open in halves": lambda document: document["routing"]["rules"].insert(
        1, {"ip": ["0.0.0.0/1", "128.0.0.0/1"], "outboundTag": "direct"}
    ),
    "no rule": lambda document: document["routing"].update(rules=[]),
    "rule about names": lambda document: document["routing"]["rules"][1].update(domain=["site.test"]),
    "rule about a list in a file": lambda document: document["routing"]["rules"][1]["ip"].append("geoip:private"),
    "rule that leads nowhere": lambda document: document["routing"]["rules"][1].update(outboundTag="nowhere"),
    "rule that tells somebody": lambda document: document["routing"]["rules"][1].update(webhook={"url": "http://x"}),
    "reverse": lambda document: document.update(reverse={}),
    "DNS": lambda document: document.update(dns={"servers": ["8.8.8.8"]}),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_document_that_breaks_a_rule_is_refused(case: str) -> None:
    document = config(RUNTIME, endpoints=(endpoint(), endpoint(8443, key=OLD_KEY))).document()
    check_document(document, runtime=RUNTIME)
    # Inbounds share their list of users, which an edit of one shall not be of both.
    document["inbounds"][1]["settings"]["clients"] = [
        dict(one) for one in document["inbounds"][1]["settings"]["clients"]
    ]
    BROKEN[case](document)
    with pytest.raises(ParameterError, match="Xray's configuration"):
        check_document(document, runtime=RUNTIME)


@pytest.mark.parametrize("case", [case for case in BROKEN if case.startswith("key")])
def test_no_key_is_in_what_is_said_of_it(case: str) -> None:
    document = config(RUNTIME).document()
    BROKEN[case](document)
    with pytest.raises(ParameterError) as refused:
        check_document(document, runtime=RUNTIME)
    assert KEY[1:42] not in str(refused.value)


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{}", b'{"a": NaN}', b"\xff", b"[" * 100_000])
def test_what_is_no_document_is_refused(data: bytes) -> None:
    with pytest.raises(ParameterError, match="Xray's configuration"):
        check_rendered(data, runtime=RUNTIME)


TAKEN = {
    "usual": {},
    "nobody": {"users": {}},
    "both families": {"listen": "::"},
    "two endpoints": {"endpoints": (endpoint(443), endpoint(8443, key=OLD_KEY))},
    "address as target": {"endpoints": (endpoint(443, target="[2001:db8::1]:8443"),)},
    "no internet": {"policy": Policy(internet=False)},
    "own networks": {"policy": Policy(closed=("198.51.100.0/24", "2001:db8::/32")), "own": ("203.0.113.9/32",)},
    "loopback": {"allowed": ("127.0.0.0/8", "::1/128")},
}


@needs_xray
@pytest.mark.parametrize("case", TAKEN)
async def test_a_real_xray_takes_what_we_take(case: str, tmp_path: Path) -> None:
    # While it tests, Xray opens its log, and would wait for a reader of the pipe.
    make_pipe(tmp_path / "access.fifo")
    with (tmp_path / "access.fifo").open("r+b", buffering=0):
        one = config(tmp_path, **TAKEN[case])
        data = render(one.document())
        check_rendered(data, runtime=tmp_path)
        one.file.write_bytes(data)
        await dry_run(Path(str(PROGRAM)), one.file)


LENIENT = [
    "wildcard",
    "empty name",
    "no clock",
    "no oldest client",
    "id of another's but for what Xray does not see",
    "same short id twice",
    "names in the log",
    "private networks open",
    "reverse",
]


@needs_xray
@pytest.mark.parametrize("case", LENIENT)
def test_a_real_xray_takes_what_we_do_not(case: str, tmp_path: Path) -> None:
    """What the rules above are for: to ask Xray is not enough."""
    one = config(tmp_path, users=users(ALICE, BOB))
    document = one.document()
    BROKEN[case](document)
    one.file.write_bytes(render(document))
    make_pipe(tmp_path / "access.fifo")
    with (tmp_path / "access.fifo").open("r+b", buffering=0):
        done = subprocess.run([str(PROGRAM), "run", "-test", "-c", one.file], capture_output=True, check=False)
    assert done.returncode == 0
