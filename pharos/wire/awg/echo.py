"""An inner end that only answers pings: a node's whole inside while it has no TUN interface."""

from collections.abc import Collection, Sequence

from pharos.wire.awg.icmp import InnerAddress, answer_echo
from pharos.wire.awg.memory import PacketQueue


class EchoEnd:
    """Answers echo requests for its addresses and swallows everything else. It is an ``InnerEnd``."""

    def __init__(self, addresses: Collection[InnerAddress]) -> None:
        self._addresses = frozenset(addresses)
        self._replies = PacketQueue()

    def set_addresses(self, addresses: Collection[InnerAddress]) -> None:
        """Answer for these and no others from now on."""
        self._addresses = frozenset(addresses)

    async def receive_packets(self) -> Sequence[bytes]:
        return await self._replies.get()

    def send_packets_nowait(self, packets: Sequence[bytes]) -> None:
        replies = [answer_echo(packet, self._addresses) for packet in packets]
        self._replies.put_nowait([reply for reply in replies if reply is not None])
