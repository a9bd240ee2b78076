"""Which connection: two addresses, two ports."""

import attrs


@attrs.frozen(kw_only=True)
class Flow:
    """The two ends of a connection, as one of them sees it."""

    local: bytes
    """Packed, 4 bytes or 16; the other is of the same family."""
    local_port: int
    remote: bytes
    remote_port: int

    def reversed(self) -> "Flow":
        """Return it as the other end sees it."""
        return Flow(local=self.remote, local_port=self.remote_port, remote=self.local, remote_port=self.local_port)
