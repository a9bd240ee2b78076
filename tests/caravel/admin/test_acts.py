"""What commands do at the desk, and the sign-in that they keep."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import attrs
import pytest

from pharos.caravel.admin.acts import DeskSession, by_token, sign_in
from pharos.caravel.admin.kept import LIFETIME, KeptSignIn, SignedIn
from pharos.caravel.errors import DeskError, NotSignedInError
from pharos.caravel.profiles.store import ProfileStore
from pharos.helm.accounts.admins import add_token
from pharos.helm.accounts.users import add_user
from pharos.helm.model.admins import Role
from pharos.wire.errors import StateFileError
from pharos.wire.seal.ticket import TicketLink
from tests.support.desk import SESSION, admin_with_device, ask, desk_of, linked
from tests.support.helm import adopt_sample_node, adopt_sample_relay, enrol_sample_device, open_helm, sample_act

JSON = ("content-type", "application/json")
PASSWORD = "correct horse battery"
NOW = datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)


async def test_admin_signs_in_looks_and_acts(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        ada = await admin_with_device(helm)
        await helm.store.run(lambda db: adopt_sample_node(db, helm.authority))
        await helm.store.run(lambda db: adopt_sample_relay(db, helm.authority))
        await helm.store.run(enrol_sample_device, 2, "phone")
        await helm.store.run(add_user, sample_act(), {"name": "eve"})
        async with linked(desk_of(helm), ada.device_id) as link, link.open_lane() as lane:
            # The first time by a link, to set a password.
            head, body = await ask(lane, "POST", SESSION, JSON, body=json.dumps({"link": ada.secret}).encode())
            cookie = dict(head.headers)["set-cookie"].partition(";")[0]
            shown = [("cookie", cookie), ("x-pharos-csrf", json.loads(body)["csrf"])]
            new = json.dumps({"password": PASSWORD}).encode()
            head, _ = await ask(lane, "PUT", f"{SESSION}/password", *shown, JSON, body=new)
            assert head.status == 204
            with pytest.raises(NotSignedInError, match="wrong"):
                await sign_in(lane, "ada", PASSWORD + "!", "")
            signed = await sign_in(lane, "ada", PASSWORD, "")
            assert (signed.name, signed.role) == ("ada", "owner")

            desk = DeskSession(lane, signed)
            seen = await desk.glance()
            assert (seen["nodes"], seen["relays"]) == ({"up": 0, "down": ["amsterdam"]}, {"up": 0, "down": ["gate"]})
            assert (seen["open_alerts"], seen["alerts"], seen["sessions"]) == (0, [], 0)
            assert [device["name"] for device in await desk.devices()] == ["laptop", "phone"]
            assert (await desk.move("phone", "disable"))["state"] == "disabled"
            with pytest.raises(DeskError, match="cannot be disabled") as refused:
                await desk.move("phone", "disable")
            assert refused.value.status == 409
            assert (await desk.move("phone", "enable"))["state"] == "active"
            assert (await desk.move("phone", "revoke"))["state"] == "revoked"
            with pytest.raises(DeskError, match="no device"):
                await desk.move("tablet", "revoke")
            made = await desk.invite("tablet", user="eve", seconds=900)
            TicketLink.parse(made["link"])
            assert made["user_id"]
            await desk.sign_out()
            with pytest.raises(NotSignedInError, match="caravel admin login"):
                await desk.glance()


async def test_token_of_the_devices_own_admin_is_taken(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        ada, bob = await admin_with_device(helm), await admin_with_device(helm, 2, name="bob")
        texts = {}
        for one in (ada.admin, bob.admin):
            _, text = await helm.store.run(add_token, sample_act(), one.id, name=one.name, role=Role.VIEWER)
            texts[one.name] = text
        for admin in (ada, bob):
            # Tokens of whoever has never come in do not count.
            async with linked(desk_of(helm), admin.device_id) as link, link.open_lane() as lane:
                await ask(lane, "POST", SESSION, JSON, body=json.dumps({"link": admin.secret}).encode())
        async with linked(desk_of(helm), ada.device_id) as link, link.open_lane() as lane:
            signed = await by_token(lane, texts["ada"])
            assert len(await DeskSession(lane, signed).devices()) == 2
            with pytest.raises(NotSignedInError):
                await by_token(lane, "pharos_unknown")
            with pytest.raises(DeskError, match="another admin's"):
                await by_token(lane, texts["bob"])


def test_sign_in_is_kept_for_half_a_day_and_only_for_its_owner(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    kept = KeptSignIn(ProfileStore(tmp_path))
    with pytest.raises(NotSignedInError):
        kept.load(NOW)
    signed = SignedIn(name="ada", role="owner", until=NOW + LIFETIME, cookie="c", csrf="t")
    kept.save(signed)
    path = tmp_path / "desk.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert kept.load(NOW) == signed
    assert "cookie" not in repr(signed)
    for moment in (NOW + LIFETIME, NOW - datetime.timedelta(seconds=1)):
        kept.save(signed)
        with pytest.raises(NotSignedInError):
            kept.load(moment)
        assert not path.exists()
    kept.save(attrs.evolve(signed, token="t"))
    assert kept.load(NOW).headers == (("authorization", "Bearer t"),)
    assert "ada" not in path.read_text(), "it is sealed"
    path.write_text(path.read_text().replace('"sealed": "', '"sealed": "AAAA'))
    with pytest.raises(StateFileError):
        kept.load(NOW)
