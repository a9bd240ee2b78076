"""Our ClientHello: a browser's look filled with names, keys and draws, and once more if the server asks for it."""

from typing import Final

import attrs

from pharos.wire.reality.codec import pack, vector
from pharos.wire.reality.draws import Random, choice, shuffled
from pharos.wire.reality.errors import Alert, TlsError
from pharos.wire.reality.extensions import GREASE, Extension, write_extensions
from pharos.wire.reality.groups import (
    GROUPS,
    X25519,
    X25519_LENGTH,
    X25519MLKEM768,
    ClientShare,
    HybridShare,
    X25519Share,
    make_share,
)
from pharos.wire.reality.hello import RANDOM_LENGTH, SESSION_ID_LENGTH, write_client_hello
from pharos.wire.reality.parrots import Drawn, Parrot

_GREASE: Final = sorted(GREASE)
_GREASE_SHARE: Final = b"\0"
_STAYING: Final = frozenset({Drawn.GREASE, Drawn.LAST_GREASE, Extension.PADDING})
"""What a browser that shuffles leaves in its place."""

# Some servers hang on a hello of 256 to 511 octets, so that browsers fill these up to 512 (RFC 7685).
_PADDED_FROM: Final = 0x100
_PADDED_TO: Final = 0x200
_EXTENSION_HEAD: Final = 4


@attrs.frozen(kw_only=True)
class Offer:
    """A hello of ours and the private keys behind it."""

    random: bytes
    session_id: bytes
    suites: tuple[int, ...]
    groups: tuple[int, ...]
    extensions: dict[int, bytes] = attrs.field(repr=False)
    shares: dict[int, ClientShare] = attrs.field(repr=False)
    """By their groups, without GREASE."""

    @property
    def message(self) -> bytes:
        """The handshake message."""
        return write_client_hello(
            random=self.random,
            session_id=self.session_id,
            suites=self.suites,
            extensions=write_extensions(self.extensions),
        )

    @property
    def x25519(self) -> X25519Share:
        """The key that REALITY is computed with: the X25519 share's, or the post-quantum share's if that is alone."""
        share = self.shares.get(X25519, self.shares.get(X25519MLKEM768))
        if isinstance(share, HybridShare):
            return share.x25519
        assert isinstance(share, X25519Share), "every parrot has a share of X25519"
        return share

    def with_session_id(self, session_id: bytes) -> "Offer":
        return attrs.evolve(self, session_id=session_id)

    def again(self, *, group: int | None, cookie: bytes | None, random: Random) -> "Offer":
        """Return the hello that answers a HelloRetryRequest (RFC 8446 §4.1.2).

        Raises: TlsError — it asks for what this hello did not offer, or for nothing new.
        """
        shares, extensions = self.shares, dict(self.extensions)
        if group is not None:
            if group not in self.groups or group in shares or group not in GROUPS:
                raise TlsError(Alert.ILLEGAL_PARAMETER, f"the HelloRetryRequest asks for group {group:#06x}")
            shares = {group: make_share(group, random)}
            extensions[Extension.KEY_SHARE] = _key_share({group: shares[group].public})
        elif cookie is None:
            raise TlsError(Alert.ILLEGAL_PARAMETER, "the HelloRetryRequest asks for nothing")
        if cookie is not None:
            extensions[Extension.COOKIE] = cookie
        return attrs.evolve(self, shares=shares, extensions=extensions)


def make_offer(parrot: Parrot, *, server_name: str, random: Random, post_quantum: bool = True) -> Offer:
    """Make a hello with an empty session id of 32 octets.

    Without ``post_quantum`` it looks like a browser that has the post-quantum group switched off.
    """
    # The draws are independent of each other, as in a browser: only the two extensions must differ.
    grease = {Drawn.GREASE: choice(random, _GREASE), Drawn.LAST_GREASE: choice(random, _GREASE)}
    if grease[Drawn.GREASE] == grease[Drawn.LAST_GREASE]:
        grease[Drawn.LAST_GREASE] ^= 0x1010
    group_grease = choice(random, _GREASE)
    groups = _greased(_without(parrot.groups, post_quantum), group_grease)
    shares = _make_shares(parrot, random, post_quantum=post_quantum)
    publics = {group_grease: _GREASE_SHARE} if Drawn.GREASE in parrot.shares else {}
    publics.update((group, share.public) for group, share in shares.items())
    bodies = {
        Extension.SERVER_NAME: vector(2, b"\0" + vector(2, server_name.encode("ascii"))),
        Extension.SUPPORTED_GROUPS: vector(2, pack(groups)),
        Extension.KEY_SHARE: _key_share(publics),
        Extension.SUPPORTED_VERSIONS: vector(1, pack(_greased(parrot.versions, choice(random, _GREASE)))),
    }
    if parrot.ech_payloads:
        bodies[Extension.ENCRYPTED_CLIENT_HELLO] = _empty_ech(parrot, random)
    extensions = {
        grease.get(Drawn(code), code) if code < 0 else code: bodies.get(Extension(code), b"") if body is None else body
        for code, body in _ordered(parrot, random)
        if code != Extension.PADDING
    }
    offer = Offer(
        random=random(RANDOM_LENGTH),
        session_id=bytes(SESSION_ID_LENGTH),
        suites=_greased(parrot.suites, choice(random, _GREASE)),
        groups=groups,
        extensions=extensions,
        shares=shares,
    )
    if Extension.PADDING in dict(parrot.extensions):
        return _padded(offer)
    return offer


def _without(groups: tuple[int, ...], post_quantum: bool) -> tuple[int, ...]:
    return groups if post_quantum else tuple(group for group in groups if group != X25519MLKEM768)


def _greased(codes: tuple[int, ...], drawn: int) -> tuple[int, ...]:
    return tuple(drawn if code == Drawn.GREASE else code for code in codes)


def _ordered(parrot: Parrot, random: Random) -> list[tuple[int, bytes | None]]:
    if not parrot.shuffles:
        return list(parrot.extensions)
    moving = iter(shuffled(random, [entry for entry in parrot.extensions if entry[0] not in _STAYING]))
    return [entry if entry[0] in _STAYING else next(moving) for entry in parrot.extensions]


def _make_shares(parrot: Parrot, random: Random, *, post_quantum: bool) -> dict[int, ClientShare]:
    common = X25519Share(random(X25519_LENGTH)) if parrot.reuses_x25519 else None
    wanted = [group for group in _without(parrot.shares, post_quantum) if group != Drawn.GREASE]
    return {group: make_share(group, random, x25519=common) for group in wanted}


def _key_share(publics: dict[int, bytes]) -> bytes:
    return vector(2, b"".join(pack((group,)) + vector(2, public) for group, public in publics.items()))


def _empty_ech(parrot: Parrot, random: Random) -> bytes:
    """An outer ECH that no key fits: HKDF-SHA256, a config id, an X25519 key and a payload, all of them drawn."""
    suite = pack((1, choice(random, parrot.ech_aeads)))
    encapsulated = X25519Share(random(X25519_LENGTH)).public
    return b"\0" + suite + random(1) + vector(2, encapsulated) + vector(2, random(choice(random, parrot.ech_payloads)))


def _padded(offer: Offer) -> Offer:
    length = len(offer.message)
    if not _PADDED_FROM <= length < _PADDED_TO:
        return offer
    zeros = max(1, _PADDED_TO - length - _EXTENSION_HEAD)
    return attrs.evolve(offer, extensions={**offer.extensions, Extension.PADDING: bytes(zeros)})
