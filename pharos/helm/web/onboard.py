"""Machines that helm itself brings in over ssh, for who has no command line.

POST /api/v1/onboardings                  {"destination", "parts", "name", "address"}; takes a fresh proof
GET  /api/v1/onboardings/{id}/events      what happens, a JSON document a line, until it is over
POST /api/v1/onboardings/{id}/confirm     {"host_key"}: it is the one that the machine itself shows; a fresh proof
POST /api/v1/onboardings/{id}/answer      {"password"}, which is kept nowhere
POST /api/v1/onboardings/{id}/stop        what is done stays
POST /api/v1/onboardings/{id}/undo        what is done is taken back; a fresh proof
GET  /api/v1/ssh-key                      helm's own, for authorized_keys

Listing and showing them are the noun's (`pharos.helm.web.nouns.onboardings`); the feed tells of each change.
"""

from __future__ import annotations

import enum
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
import trio
from quart import Blueprint, Response
from quart_schema import document_headers, document_request, document_response, tag

from pharos.helm.accounts.signin import check_fresh
from pharos.helm.context import HelmContext
from pharos.helm.errors import ConflictError, NotAllowedError, NotSignedInError
from pharos.helm.fleet.places import PLACE, check_place
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Principal, Role, Via
from pharos.helm.model.onboardings import Onboarding, OnboardingState
from pharos.helm.onboard.agents import check_address, check_name
from pharos.helm.onboard.join.answers import HOST_KEY, PASSWORD
from pharos.helm.onboard.join.events import event_json
from pharos.helm.onboard.join.parts import Part
from pharos.helm.onboard.join.runner import Live
from pharos.helm.onboard.join.wish import Wish
from pharos.helm.onboard.remote import Destination
from pharos.helm.store.admins import check_principal
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.onboardings import ONBOARDINGS
from pharos.helm.store.records import add_record, get_record
from pharos.helm.web.acting import Answer, acting, principal, request_noun
from pharos.helm.web.requests import read_body
from pharos.helm.web.resources import API, Once, Problem
from pharos.helm.web.session import signed_in
from pharos.wire.units import SECONDS

# As often as the live feed looks whether who follows still may.
RECHECK: Final = 15 * SECONDS


class OnboardingPart(enum.Enum):
    """What the machine becomes."""

    BUOY = "buoy"
    BEACON = "beacon"


class OnboardingBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A machine that ssh reaches, and what it shall be."""

    destination: str
    """``[user@]host[:port]``."""
    parts: list[OnboardingPart] = msgspec.field(default_factory=lambda: [OnboardingPart.BUOY])
    name: str = ""
    """Empty: as it calls itself."""
    address: str = ""
    """Empty: as ssh reaches it."""
    place: str = ""
    """Where it stands, as people say it; what a machine becomes, both node and relay, stands there."""
    latitude: float | None = None
    """Degrees north; with ``longitude``, or neither."""
    longitude: float | None = None
    """Degrees east."""
    dry_run: bool = False
    """Look, and tell what would be done; nothing is changed."""


class HostKeyBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The fingerprint that somebody has compared."""

    host_key: str


class AnswerBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What ssh or sudo asks for."""

    password: str


class SshKeyShown(msgspec.Struct, kw_only=True):
    """helm's own public key."""

    public_key: str
    """A line for authorized_keys."""


class OnboardingBegun(msgspec.Struct, kw_only=True):
    """It is at work; how it goes says its record."""

    id: str
    destination: str
    state: str


def make_onboard_blueprint(context: HelmContext) -> Blueprint:
    """Serve them."""
    blueprint = Blueprint("onboard", __name__, url_prefix=API)

    async def look(onboarding_id: str) -> tuple[Principal, Onboarding, Live | None]:
        who, noun = principal(), request_noun()

        def read(db: Database) -> Onboarding:
            check_principal(db, who, Role.ADMIN, noun=noun, at=now_us())
            return get_record(db, ONBOARDINGS, onboarding_id)

        return who, await context.store.read(read), context.onboardings.find(onboarding_id)

    async def at_work(onboarding_id: str) -> Live:
        _, _, live = await look(onboarding_id)
        if live is None or live.over:
            raise ConflictError("this onboarding is over; begin it again, and it goes on from where it ended")
        return live

    @blueprint.post("/onboardings")
    @document_request(OnboardingBody)
    @document_headers(Once)
    @document_response(OnboardingBegun, 201)
    @document_response(Problem, 400)
    @document_response(Problem, 401)
    @document_response(Problem, 409)
    @tag(["onboardings"])
    async def begin() -> Response:
        """Begin to bring a machine in; takes a fresh proof"""
        body: Any = await read_body(OnboardingBody)
        who = _fresh()
        wish = _wish(body)
        context.onboardings.check_room(str(wish.destination))
        added: list[Onboarding] = []

        def write(db: Database, act: Act) -> Answer:
            onboarding = Onboarding(
                id=fresh_id(),
                name=wish.name,
                destination=str(wish.destination),
                address=wish.address,
                parts=tuple(part.value for part in wish.parts),
            )
            added.append(add_record(db, ONBOARDINGS, onboarding, act, detail=onboarding.destination))
            view = {name: ONBOARDINGS.view(added[0])[name] for name in ("id", "destination", "state")}
            return Answer(body=view, status=201, version=1, location=f"{API}/onboardings/{onboarding.id}")

        response = await acting(context, Role.ADMIN, write)
        # A repeated request gets the first one's answer, and begins nothing.
        if added:
            context.onboardings.begin(added[0].id, wish, who, rehearses=body.dry_run)
        return response

    @blueprint.get("/onboardings/<record_id>/events")
    @document_response(Problem, 404)
    @tag(["onboardings"])
    async def events(record_id: str) -> Response:
        """Follow what happens, from its begin on: a JSON document a line"""
        who, _, live = await look(record_id)
        response = Response(_lines(context, who, live), content_type="application/x-ndjson")
        # It lasts as long as the onboarding.
        response.timeout = None
        return response

    @blueprint.post("/onboardings/<record_id>/confirm")
    @document_request(HostKeyBody)
    @document_response(Problem, 401)
    @document_response(Problem, 404)
    @document_response(Problem, 409)
    @tag(["onboardings"])
    async def confirm(record_id: str) -> Response:
        """Say that a host key is the machine's own; takes a fresh proof"""
        body: Any = await read_body(HostKeyBody)
        _fresh()
        (await at_work(record_id)).question.answer(HOST_KEY, "yes", shown=body.host_key)
        return Answer(body=None, status=204).response()

    @blueprint.post("/onboardings/<record_id>/answer")
    @document_request(AnswerBody)
    @document_response(Problem, 404)
    @document_response(Problem, 409)
    @tag(["onboardings"])
    async def answer(record_id: str) -> Response:
        """Give the password that is asked for; it goes to ssh or sudo, and is kept nowhere"""
        # Not by `acting`: what answers to an idempotency key keeps a digest of the request.
        body: Any = await read_body(AnswerBody)
        (await at_work(record_id)).question.answer(PASSWORD, body.password)
        return Answer(body=None, status=204).response()

    @blueprint.post("/onboardings/<record_id>/stop")
    @document_response(Problem, 404)
    @document_response(Problem, 409)
    @tag(["onboardings"])
    async def stop(record_id: str) -> Response:
        """Stop it; what is done stays, and the same again goes on from there"""
        (await at_work(record_id)).scope.cancel()
        return Answer(body=None, status=204).response()

    @blueprint.post("/onboardings/<record_id>/undo")
    @document_response(Problem, 401)
    @document_response(Problem, 404)
    @document_response(Problem, 409)
    @tag(["onboardings"])
    async def undo(record_id: str) -> Response:
        """Stop it, and take back what was done; takes a fresh proof"""
        who = _fresh()
        _, onboarding, live = await look(record_id)
        if onboarding.state is OnboardingState.JOINED:
            raise ConflictError(f"{onboarding.destination} belongs to the fleet by now; revoke it instead")
        if onboarding.state is OnboardingState.REHEARSED:
            raise ConflictError("it was a rehearsal, and changed nothing")
        if onboarding.state in (OnboardingState.UNDOING, OnboardingState.UNDONE):
            raise ConflictError(f"the onboarding of {onboarding.destination} is {onboarding.state.value} already")
        if live is not None:
            live.scope.cancel()
            await live.ended.wait()
        context.onboardings.begin(record_id, _wish(onboarding), who, undoes=True)
        return Answer(body=None, status=202).response()

    @blueprint.get("/ssh-key")
    @document_response(SshKeyShown, 200)
    @document_response(Problem, 409)
    @tag(["onboardings"])
    async def ssh_key() -> Response:
        """Show helm's own SSH key, which a machine has to know before helm can bring it in"""
        await context.store.read(check_principal, principal(), Role.ADMIN, noun=request_noun(), at=now_us())
        return Answer(body={"public_key": await context.onboardings.public_line()}).response()

    return blueprint


def _fresh() -> Principal:
    """Return who asks. Raises: NotSignedInError — by a session whose proof is not fresh."""
    who = principal()
    if who.via is Via.SESSION:
        check_fresh(signed_in().session)
    return who


def _wish(said: OnboardingBody | Onboarding) -> Wish:
    named = {part.value if isinstance(part, enum.Enum) else part for part in said.parts}
    if said.name:
        check_name(said.name)
    # What is recorded of an onboarding is for undoing it alone: where the machine stands is its own record's.
    stands = {name: getattr(said, name) for name in PLACE} if isinstance(said, OnboardingBody) else {}
    if stands:
        check_place(**stands)
    return Wish(
        destination=Destination.parse(said.destination),
        # The buoy first, whatever was said first.
        parts=tuple(part for part in Part if part.value in named) or (Part.BUOY,),
        name=said.name,
        address=check_address(said.address) if said.address else "",
        **stands,
    )


async def _lines(context: HelmContext, who: Principal, live: Live | None) -> AsyncIterator[bytes]:
    """Yield each event as a line, as long as who follows may."""
    if live is None:
        return
    looked = trio.current_time()
    async for event in live.follow():
        if trio.current_time() >= looked + RECHECK:
            looked = trio.current_time()
            try:
                await context.store.read(check_principal, who, Role.ADMIN, noun="onboardings", at=now_us())
            except (NotSignedInError, NotAllowedError):
                return
        yield json.dumps(event_json(event), ensure_ascii=False).encode() + b"\n"
