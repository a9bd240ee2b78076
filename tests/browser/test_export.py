"""A device for another app: its keys are made in the browser, and are nowhere once the card has closed."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.sync_api import Browser, Request, WebSocket, expect

from tests.browser.qrcodes import read
from tests.browser.tabs import IN_CHROMIUM, Tab
from tests.browser.test_journeys import EVERYWHERE
from tests.browser.watched import watched
from tests.support.webfleet.driver import WebFleet

pytestmark = [*IN_CHROMIUM]

FLEET = {"nodes": 2, "devices": 2}
KEPT = "JSON.stringify([{...localStorage}, {...sessionStorage}, history.state])"


class Sent:
    """All that a tab has said to anybody."""

    def __init__(self, tab: Tab) -> None:
        self.bodies: list[dict[str, Any]] = []
        """Of new devices."""
        self.all: list[str] = []
        tab.page.on("request", self._request)
        tab.page.on("websocket", self._socket)

    def _request(self, request: Request) -> None:
        self.all.append(f"{request.url} {request.headers} {request.post_data or ''}")
        if request.method == "POST" and request.url.endswith("/api/v1/devices"):
            self.bodies.append(json.loads(request.post_data or "{}"))

    def _socket(self, socket: WebSocket) -> None:
        socket.on("framesent", lambda frame: self.all.append(str(frame)))


def fields(conf: str) -> dict[str, str]:
    """Return the settings of a .conf file; no name stands in two of its sections."""
    return dict(line.split(" = ", 1) for line in conf.splitlines() if " = " in line)


def public_of(private: str) -> str:
    """Return the public key in hexadecimal of a private one as .conf files write it."""
    key = X25519PrivateKey.from_private_bytes(base64.b64decode(private)).public_key()
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def spellings(secret: str) -> list[str]:
    """Return how 32 octets in base64 might be written."""
    raw = base64.b64decode(secret)
    return [secret, base64.urlsafe_b64encode(raw).decode().rstrip("="), raw.hex(), raw.hex().upper()]


def begin(tab: Tab, user: str, name: str) -> None:
    """Have the keys made, by the form of the profiles page."""
    tab.go("/profiles")
    tab.page.get_by_role("button", name="Export for another app").click()
    card = tab.page.get_by_role("complementary").last
    card.get_by_role("combobox").first.fill(user)
    tab.page.get_by_role("option", name=user).click()
    card.get_by_label("Name of the device").fill(name)
    assert card.locator("ol.steps > li").count() == 3
    card.get_by_role("button", name="Make keys").click()
    expect(card.locator("ol.steps > li.done")).to_have_count(2)
    expect(card.locator("ol.steps > li[aria-current=step]")).to_contain_text("Hand on a code, a file or a link")


def copied(tab: Tab, app: str, button: str) -> str:
    """Return what the card hands on for an app."""
    tab.page.get_by_role("group", name="For which app").get_by_role("button", name=app, exact=True).click()
    tab.page.get_by_role("button", name=button).click()
    expect(tab.page.get_by_role("button", name="Copied")).to_be_visible()
    return str(tab.page.evaluate("navigator.clipboard.readText()"))


def saved(tab: Tab, file: str) -> str:
    """Return what the browser writes on the disk."""
    with tab.page.expect_download() as download:
        tab.page.get_by_role("button", name=f"Save as {file}").click()
    assert download.value.suggested_filename == file
    return Path(download.value.path()).read_text()


def test_helm_gets_public_keys_and_the_person_gets_the_private_ones(browser: Browser, fleet: WebFleet) -> None:
    rights = ["clipboard-read", "clipboard-write"]
    with watched(browser, fleet, "ada", role="operator", permissions=rights) as tab:
        sent = Sent(tab)
        begin(tab, "User 0000", "old router")
        # A file for AmneziaWG, as a code, as text and on the disk.
        conf = copied(tab, "AmneziaWG", "Copy text")
        assert read(tab.page.locator("svg.code")) == conf
        assert saved(tab, "node-000.conf") == conf
        told = fields(conf)
        assert {"Jc", "S1", "H1", "Address", "Endpoint", "AllowedIPs"} <= told.keys()
        # The same tunnel for Amnezia, in its own wrapping.
        amnezia = copied(tab, "Amnezia", "Copy text")
        assert saved(tab, "node-000.vpn") == amnezia
        packed = amnezia.removeprefix("vpn://")
        raw = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
        inner = json.loads(json.loads(zlib.decompress(raw[4:]))["containers"][0]["awg"]["last_config"])
        assert inner["client_priv_key"] == told["PrivateKey"]
        # Xray's link has no file, and an id in the place of a key.
        link = copied(tab, "Xray", "Copy link")
        assert read(tab.page.locator("svg.code")) == link
        assert link.startswith("vless://")
        person = link.removeprefix("vless://").partition("@")[0]
        secrets = [*spellings(told["PrivateKey"]), *spellings(told["PresharedKey"]), person, packed[-40:]]
        assert person in tab.page.evaluate(EVERYWHERE), "what is looked for below can be found"
        # helm was told of four public keys, one of which is that of the file; no other octet left the page.
        (body,) = sent.bodies
        assert body["keys"].keys() == {"sealing", "derive", "noise", "awg"}
        assert body["keys"]["awg"] == public_of(told["PrivateKey"])
        assert len(set(body["keys"].values())) == 4
        assert [word for word in secrets if any(word in text for text in sent.all)] == []
        device = fleet.find("devices", "old router")
        assert device["exported"]
        shown = json.dumps([device, fleet.get(f"/devices/{device['id']}/configuration")])
        assert body["keys"]["awg"] in shown
        assert [word for word in secrets if word in shown] == []
        # It closes after a question; nothing of it is left, and no way leads back.
        tab.page.get_by_role("button", name="Done").click()
        expect(tab.page.get_by_role("dialog")).to_contain_text("The keys are forgotten with it")
        tab.page.get_by_role("button", name="Close it").click()
        expect(tab.page.locator("svg.code")).to_have_count(0)
        for act in (lambda: None, tab.page.go_back, tab.page.go_forward, tab.page.reload):
            act()
            tab.wait_shown()
            left = tab.page.evaluate(EVERYWHERE) + tab.page.evaluate(KEPT) + tab.page.url
            assert [word for word in secrets if word in left] == []
            expect(tab.page.locator("svg.code")).to_have_count(0)


def test_back_asks_before_the_keys_are_lost(browser: Browser, fleet: WebFleet) -> None:
    with watched(browser, fleet, "bob", role="operator") as tab:
        begin(tab, "User 0001", "tv")
        tab.page.go_back()
        dialog = tab.page.get_by_role("dialog")
        expect(dialog).to_contain_text("The keys are forgotten with it")
        dialog.get_by_role("button", name="Keep it open").click()
        expect(tab.page.locator("svg.code")).to_be_visible()
