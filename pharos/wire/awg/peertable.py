"""The peers of one device and the inner networks that are theirs."""

from collections.abc import Iterator

import attrs

from pharos.wire.awg.allowedips import AllowedIps, compact, expand
from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.context import Context
from pharos.wire.awg.cookies import MacStamper
from pharos.wire.awg.handshake import meet
from pharos.wire.awg.handshaker import Handshaker
from pharos.wire.awg.keys import StaticKey
from pharos.wire.awg.peer import Peer
from pharos.wire.errors import LocalProtocolError, ParameterError


class PeerTable:
    """Peers by public key, in the order they were added, and by the inner addresses they have."""

    def __init__(self, context: Context) -> None:
        self.routes: AllowedIps[Peer] = AllowedIps()
        self._context = context
        self._peers: dict[bytes, Peer] = {}

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._peers.values())

    def get(self, public_key: bytes) -> Peer | None:
        return self._peers.get(public_key)

    def known(self, public_key: bytes) -> Peer:
        """Raises: LocalProtocolError — there is no such peer."""
        try:
            return self._peers[public_key]
        except KeyError:
            raise LocalProtocolError(f"no peer has the public key {public_key.hex()}") from None

    def put(self, config: PeerConfig, now: float) -> None:
        """Add a peer or change it.

        Raises: ParameterError — the public key is our own, or one no handshake can be made with.
        """
        context = self._context
        if config.public_key == context.static.public:
            raise ParameterError(f"public_key = {config.public_key.hex()}: must not be this device's own")
        peer = self._peers.get(config.public_key)
        if peer is None or peer.remote.preshared_key != config.preshared_key:
            remote = meet(context.static, config.public_key, config.preshared_key)
        else:
            remote = peer.remote
        if peer is None:
            peer = Peer(
                context=context,
                public_key=config.public_key,
                remote=remote,
                config=config,
                handshaker=Handshaker(context=context, stamper=MacStamper(config.public_key)),
                face=config.face,
            )
            self._peers[config.public_key] = peer
        self._unroute(peer)
        peer.places = tuple(map(compact, config.allowed_ips))
        for place in peer.places:
            self.routes.add(place, peer)
        peer.configure(attrs.evolve(config, allowed_ips=()), remote, now)

    def remove(self, public_key: bytes) -> None:
        """Forget a peer, with its sessions, at once; nothing happens if it is not known."""
        peer = self._peers.pop(public_key, None)
        if peer is not None:
            self._unroute(peer)
            peer.drop_sessions()
            self._context.deadlines.forget(peer)

    def _unroute(self, peer: Peer) -> None:
        for place in peer.places:
            self.routes.remove(place, peer)

    def rekey(self, static: StaticKey, now: float) -> None:
        """Meet every peer anew under another key of ours; a peer of that very key goes."""
        self.remove(static.public)
        for peer in self:
            peer.configure(peer.config, meet(static, peer.public_key, peer.config.preshared_key), now)

    def config(self, peer: Peer) -> PeerConfig:
        """A peer as it was configured, but where it is now, and with the networks that nobody has taken since."""
        allowed_ips = tuple(expand(place) for place in peer.places if self.routes.owner(place) is peer)
        return attrs.evolve(peer.config, endpoint=peer.endpoint, allowed_ips=allowed_ips)
