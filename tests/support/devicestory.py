"""The life of a device on its disk: keys, enrolment, bundles, links, a second fleet, what it noted of the machine.

It begins with a directory that `tests.support.devices.lay_down` made.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pharos.caravel.admin.kept import KeptSignIn, SignedIn
from pharos.caravel.errors import NotSignedInError, SystemModeError
from pharos.caravel.profiles.confs import ConfStore, KeptConf
from pharos.caravel.profiles.denied import Denied
from pharos.caravel.profiles.fleets import Fleets
from pharos.caravel.profiles.given import is_given, note_given
from pharos.caravel.profiles.links import KeptLink, LinkStore
from pharos.caravel.profiles.pins import Pins
from pharos.caravel.profiles.store import ProfileStore, generate_secrets
from pharos.caravel.profiles.unlocking import Protection
from pharos.caravel.system import dnsfile
from pharos.caravel.system.restore import Journal, Places
from pharos.caravel.tunnel.memory import FILE_NAME, NetworkMemory
from pharos.wire.awg.confread import parse
from pharos.wire.ids import NodeId
from pharos.wire.profile import AMNEZIAWG, AmneziaWgAccess, ProfileNode
from pharos.wire.reality.sharelink import ShareLink
from pharos.wire.seal.passphrase import KeyCost
from tests.support import devices
from tests.support.faultstories import Story, View
from tests.support.nodestory import short
from tests.support.sources import CONF
from tests.support.strategies import parameters_of

NOW: Final = 1_800_000_000.0
HOME: Final = "wlan0 192.0.2.1 02:00:00:00:00:01"


def fleets_of(state: Path) -> Fleets:
    return Fleets(state, devices.unlocking(state))


def first(state: Path) -> ProfileStore:
    """Return the store of the fleet that this device was in first."""
    fleets = fleets_of(state)
    return fleets.open(next(one.id for one in fleets.list() if one.joined))


def look_at_device(state: Path) -> View:
    """Return all that a device keeps, by what changes as a whole."""
    fleets, store = fleets_of(state), first(state)
    unlocking = store.vault.unlocking
    enrolled = store.enrolled()
    listed = fleets.list()
    desk: Any = None
    try:
        desk = short(KeptSignIn(store).load(datetime.datetime.now(datetime.UTC)))
    except NotSignedInError:
        desk = None
    return {
        "identity": short((enrolled.certificate, enrolled.secrets.tls, enrolled.secrets.noise.private_bytes())),
        "bundle": short(store.bundle()),
        "pins": short(Pins() if (pins := store._known_pins(datetime.datetime.now(datetime.UTC))) is None else pins),
        "heard": [str(store.heard_at()), store.heard_through()],
        "denied": short(sorted(store.denied().nodes)),
        "links": [one.name for one in LinkStore(state, unlocking).all()],
        "confs": [one.name for one in ConfStore(state, unlocking).all()],
        "given": is_given(store.path),
        "desk": desk,
        "others": {one.id: fleets.open(one.id).secrets() is not None for one in listed if not one.joined},
        "names": {one.id: one.name for one in listed if one.name},
        "default": next((one.id for one in listed if one.default), None),
        "machine": [entry.kind for entry in journal_of(state).entries],
        "resolver": resolver_of(state).read_text(),
    }


def journal_of(state: Path) -> Journal:
    for place in ("running", "lasting"):
        (state.parent / place).mkdir(mode=0o700, exist_ok=True)
    return Journal(Places(running=state.parent / "running", lasting=state.parent / "lasting"))


def resolver_of(state: Path) -> Path:
    return state.parent / "etc" / "resolv.conf"


def prepare(original: Path) -> Callable[[Path], None]:
    """Return what lays down a copy of a device, and what there is of its machine."""

    def lay(state: Path) -> None:
        for path in sorted(original.rglob("*")):
            place = state / path.relative_to(original)
            if path.is_dir():
                place.mkdir(mode=0o700)
            else:
                place.write_bytes(path.read_bytes())
                place.chmod(0o600)
        journal_of(state)
        resolver_of(state).parent.mkdir(mode=0o700)
        resolver_of(state).write_text("nameserver 192.0.2.1\n")

    return lay


# -- changes


def sync(revision: int, state: Path) -> None:
    first(state).save_bundle(devices.bundle(revision), devices.blob(revision))


def confirm(state: Path) -> None:
    node = ProfileNode(
        id=NodeId("a"),
        name="a",
        tags=(),
        derive_key=bytes(32),
        generation=1,
        addresses=("10.86.0.1",),
        access=(AmneziaWgAccess(host="h", port=1, public_key=b"\x01" * 32, parameters=parameters_of(1)),),
    )
    first(state).confirm(node, datetime.datetime.now(datetime.UTC))


def enrol_again(state: Path) -> None:
    """Take the certificate anew, as a renewal does."""
    store = first(state)
    store.save_enrolled(store.enrolled())


def add_link(name: str, state: Path) -> None:
    LinkStore(state, devices.unlocking(state)).add(
        KeptLink(name=name, link=ShareLink.parse(devices.LINK)), replace=True
    )


def drop_link(name: str, state: Path) -> None:
    store = LinkStore(state, devices.unlocking(state))
    if any(one.name == name for one in store.all()):
        store.remove(name)


def add_conf(state: Path) -> None:
    ConfStore(state, devices.unlocking(state)).add(KeptConf(name="office", conf=parse(CONF)), replace=True)


def drop_conf(state: Path) -> None:
    store = ConfStore(state, devices.unlocking(state))
    if store.all():
        store.remove("office")


def sign_in(state: Path) -> None:
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    KeptSignIn(first(state)).save(SignedIn(name="ada", role="owner", until=until, token="t" * 43))


def remember(state: Path) -> None:
    memory = NetworkMemory(state / FILE_NAME)
    memory.note_worked(HOME, ("n1", AMNEZIAWG), NOW, 0.1)


def protect(to: Protection, state: Path) -> None:
    KeyCost.fresh = devices.cheap_cost  # type: ignore[method-assign,assignment]
    first(state).vault.change_protection(to, passphrase=devices.PASSPHRASE)


def join_second(state: Path) -> None:
    store = fleets_of(state).store_for(devices.OTHERS[0])
    if store.secrets() is None:
        store.save_secrets(generate_secrets(), devices.OTHERS[0])


def forget_second(state: Path) -> None:
    fleets = fleets_of(state)
    if any(one.id == devices.OTHERS[0] for one in fleets.list()):
        fleets.forget(devices.OTHERS[0])


def note(kind: str, state: Path, *, lasting: bool) -> None:
    journal = journal_of(state)
    if not any(entry.kind == kind for entry in journal.entries):
        journal.note(kind, {"what": kind}, lasting=lasting)


def unnote(kind: str, state: Path) -> None:
    journal = journal_of(state)
    for entry in journal.entries:
        if entry.kind == kind:
            journal.forget(entry.number)


def ask_others(text: str, state: Path) -> None:
    """Have another resolver asked on this machine."""
    about = resolver_of(state).stat()
    original = dnsfile.Original(content=text.encode(), mode=0o600, owner=(about.st_uid, about.st_gid))
    dnsfile.put(resolver_of(state), original)


def device_story() -> Story:
    """A device's, after its enrolment."""
    act = functools.partial
    return Story(
        look=look_at_device,
        first=[("pins", "bundle")],
        refusals=(OSError, SystemModeError),
        steps=[
            act(sync, 2),
            confirm,
            lambda state: first(state).save_heard(devices.HEARD),
            lambda state: first(state).save_relay("gate"),
            lambda state: first(state).save_denied(Denied(order=(1, 1), nodes=frozenset({"n9"}))),
            act(sync, 3),
            enrol_again,
            act(add_link, "second"),
            act(drop_link, "second"),
            add_conf,
            drop_conf,
            lambda state: note_given(first(state).path, desk=True),
            sign_in,
            lambda state: KeptSignIn(first(state)).forget(),
            remember,
            act(protect, Protection.PASSPHRASE),
            act(protect, Protection.KEY_FILE),
            join_second,
            lambda state: fleets_of(state).set_name(devices.OTHERS[0], "work"),
            lambda state: fleets_of(state).set_default(devices.OTHERS[0]),
            lambda state: fleets_of(state).set_default(first(state).enrolled().fleet),
            forget_second,
            act(note, "dns", lasting=True),
            act(note, "rule", lasting=False),
            act(ask_others, "nameserver 10.86.0.1\n"),
            act(ask_others, "nameserver 192.0.2.1\n"),
            act(unnote, "rule"),
            act(unnote, "dns"),
        ],
    )
