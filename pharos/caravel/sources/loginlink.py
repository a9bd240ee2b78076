"""A fleet's link, by which whoever has an account there joins."""

from __future__ import annotations

import platform
from pathlib import Path

import attrs
import trio

from pharos.caravel.enrolment import ENROLMENT_TIMEOUT, prepare
from pharos.caravel.errors import NoAnswerError, SourceError, WrongPassphraseError
from pharos.caravel.login import CONFIRM_TIMEOUT, Login, Method, open_login
from pharos.caravel.profiles.links import MAX_NAME
from pharos.caravel.sources.base import Answers, Choices, Preview, SourceKind, Taken
from pharos.caravel.sources.joining import check_managed, store_to_join
from pharos.wire.seal.ticket import FleetLink
from pharos.wire.seal.words import fleet_words


@attrs.frozen
class LoginSource:
    """A fleet's link."""

    link: FleetLink

    @property
    def kind(self) -> SourceKind:
        return SourceKind.LOGIN

    def preview(self) -> Preview:
        return Preview(
            kind=self.kind,
            title="a fleet's link, to log in with an account",
            fleet=self.link.fleet,
            words=fleet_words(self.link.root_hash),
            does="You would log in with your account there, and this device would join. Nothing is connected by that.",
            secret=False,
            warnings=("Give your passphrase to no fleet whose words you have not compared.",),
        )

    async def take(self, path: Path, choices: Choices) -> Taken:
        check_managed(choices, self.kind)
        return await self.log_in(path, choices)

    async def log_in(self, path: Path, choices: Choices) -> Taken:
        """As `take`, where it is the organisation itself that wants it."""
        answers = choices.answers
        if answers is None:
            raise SourceError("a login asks for an account, and there is nobody to answer; run: caravel login LINK")
        store = store_to_join(path, self.link.fleet, choices)
        # Before anything is asked: a store that is in a fleet is in no second one.
        prepare(store, self.link.fleet)
        email = "" if answers.method is Method.OIDC else await answers.email()
        passphrase = await answers.passphrase("") if answers.method is Method.PASSPHRASE else None
        device_name = (choices.device_name or platform.node() or "device")[:MAX_NAME]
        with trio.move_on_after(ENROLMENT_TIMEOUT) as patience:
            async with open_login(self.link) as login:
                begun = await login.begin(answers.method, email=email, device_name=device_name)
                patience.deadline += CONFIRM_TIMEOUT
                if answers.method is Method.PASSPHRASE:
                    await _say_passphrase(login, answers, passphrase)
                else:
                    await answers.show(begun)
                    await login.wait_confirmed()
                return Taken(kind=self.kind, enrolled=await login.enrol(store))
        raise NoAnswerError("no relay of the fleet let us in in time; try again")


async def _say_passphrase(login: Login, answers: Answers, passphrase: str | None) -> None:
    while True:
        if passphrase is None:
            raise WrongPassphraseError("no passphrase was said")
        try:
            await login.say_passphrase(passphrase)
        except WrongPassphraseError as error:
            passphrase = await answers.passphrase(str(error))
            if passphrase is None:
                raise
        else:
            return
