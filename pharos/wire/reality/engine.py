"""The engine behind the control socket: where it listens, what it is, and whom it serves; all of it may change."""

from __future__ import annotations

import errno
import ipaddress
import logging
import socket
from contextlib import ExitStack
from typing import Final, NoReturn

import attrs
import trio

from pharos.wire.errors import ParameterError
from pharos.wire.listen import BACKLOG, accept_forever
from pharos.wire.reality.accounts import Account, Accounts
from pharos.wire.reality.auth import SHORT_ID_LENGTH, Gate
from pharos.wire.reality.control import Change, State, UserState, as_public_key
from pharos.wire.reality.params import split_target
from pharos.wire.reality.routing import Routes
from pharos.wire.reality.serving import RealityServer, ServerSettings
from pharos.wire.world import this_world, wall_ns

log = logging.getLogger(__name__)

Door = tuple[str, int]


class RealityEngine:
    """A server that is told what to be; without a private key, a target, names and short ids it serves nobody."""

    def __init__(self, server: RealityServer) -> None:
        self.server = server
        self._told = Change()
        self._doors: dict[Door, socket.socket] = {}
        self._stopped = False
        self.started_ns: Final = wall_ns()
        """Unix time."""
        self._doors_changed = trio.Event()

    async def run(self) -> NoReturn:
        """Serve until cancelled. Connections outlive a change of where it listens."""
        with ExitStack() as stack:
            stack.callback(self._stop)
            async with trio.open_nursery() as connections:
                connections.start_soon(self.server.run_learning)
                while True:
                    self._doors_changed = trio.Event()
                    async with trio.open_nursery() as doors:
                        doors.start_soon(self._accept, connections)
                        await self._doors_changed.wait()
                        doors.cancel_scope.cancel()

    def apply(self, change: Change) -> int:
        """Do all of it, or none; returns the errno, 0 if it was done."""
        told = self._told.merged(change)
        opened: dict[Door, socket.socket] = {}
        try:
            # Managers change users all the time, and the node hardly ever.
            settings = None if told == self._told else _settings(told)
            accounts = self._accounts_after(change)
            self._check_ids(accounts)
            for door in self._wanted(told) - self._doors.keys():
                opened[door] = _bind(*door)
        except ParameterError as error:
            _close(opened)
            log.info("a request was refused: %s", error)
            return errno.EINVAL
        except OSError as error:
            _close(opened)
            log.info("a request was refused: %s", error)
            return error.errno or errno.EINVAL
        self._told = told
        self._change_users(change, accounts)
        if settings is not None:
            self.server.configure(settings)
        if opened or self._doors.keys() - self._wanted(told):
            self._close_doors(self._wanted(told))
            self._doors.update(opened)
            self._doors_changed.set()
        return 0

    def listening(self) -> tuple[Door, ...]:
        """Where it is served; ports are the real ones."""
        return tuple(sock.getsockname()[:2] for sock in self._doors.values())

    def state(self) -> State:
        """What it is and has carried; nothing in it is secret."""
        told, server = self._told, self.server
        return State(
            told=attrs.evolve(told, private_key=None, mldsa65_seed=None, users=()),
            started_ns=self.started_ns,
            listening=self.listening(),
            public_key=None if told.private_key is None else as_public_key(told.private_key),
            learnt=server.learnt.is_set(),
            strangers=len(server.places),
            counters=attrs.asdict(server.counters),
            users=tuple(
                UserState(
                    name=user.account.name,
                    flow=user.account.flow,
                    sessions=len(user.sessions),
                    received_bytes=user.received_bytes,
                    sent_bytes=user.sent_bytes,
                    send_rate=int(user.to_device.rate),
                    receive_rate=int(user.from_device.rate),
                )
                for user in server.users
            ),
        )

    async def _accept(self, connections: trio.Nursery) -> NoReturn:
        if not self._doors:
            await trio.sleep_forever()
        # The loop closes what it accepts on; the doors stay ours.
        listeners = [trio.SocketListener(this_world().trio_socket(sock.dup())) for sock in self._doors.values()]
        await accept_forever(
            listeners,
            lambda sock, source: self.server.take(connections, sock, source),
            exhausted=lambda: log.warning("no descriptors are left for clients"),
        )

    def _accounts_after(self, change: Change) -> dict[str, Account | None]:
        """Return the account of each user that a change is about, None for one who goes; of the others nothing is said,
        so that a change takes as long as it is, and not as there are users.

        Raises: ParameterError — a new user has no id.
        """
        users = self.server.users
        accounts: dict[str, Account | None] = {}
        if change.replace_users:
            accounts = dict.fromkeys(user.account.name for user in users)
        for one in change.users:
            if one.remove:
                accounts[one.name] = None
                continue
            user = users.find(one.name)
            known = accounts.get(one.name, user and user.account)
            if one.user_id is None and known is None:
                raise ParameterError(f"user {one.name}: a new one needs an id")
            account = known or Account(name=one.name, user_id=one.user_id or b"")
            user_id, flow = one.user_id or account.user_id, one.flow or account.flow
            accounts[one.name] = Account(name=one.name, user_id=user_id, flow=flow)
        return accounts

    def _check_ids(self, accounts: dict[str, Account | None]) -> None:
        """Raises: ParameterError — two users would go by one id."""
        later = Accounts(account for account in accounts.values() if account is not None)
        for account in later:
            holder = self.server.users.accounts.holder(account.user_id)
            if holder is not None and holder.name not in accounts:
                raise ParameterError(f"{account.name}: the user id is another user's already")

    def _change_users(self, change: Change, accounts: dict[str, Account | None]) -> None:
        users = self.server.users
        # Ids may pass from one user to another, so that those who lose theirs go first.
        for name, account in accounts.items():
            user = users.find(name)
            if account is None:
                users.remove(name)
            elif user is not None and account != user.account:
                users.accounts.remove(name)
        rates = {one.name: one for one in change.users}
        for name, account in accounts.items():
            if account is None:
                continue
            known, one = users.find(name), rates[name]
            send, receive = (known.to_device.rate, known.from_device.rate) if known is not None else (0.0, 0.0)
            send = send if one.send_rate is None else one.send_rate
            receive = receive if one.receive_rate is None else one.receive_rate
            users.put(account, send_rate=send, receive_rate=receive)
        for one in change.users:
            if one.kick:
                users.kick(one.name)

    def _wanted(self, told: Change) -> set[Door]:
        # A manager may be in the midst of a change when we are told to end.
        return set() if self._stopped else set(told.listen or ())

    def _stop(self) -> None:
        self._stopped = True
        self._close_doors(set())

    def _close_doors(self, keep: set[Door]) -> None:
        for door in self._doors.keys() - keep:
            self._doors.pop(door).close()


def _settings(told: Change) -> ServerSettings | None:
    """Return what the server is to be; None if something is missing yet. Raises: ParameterError."""
    if told.private_key is None or told.target is None or not told.server_names or not told.short_ids:
        return None
    gate = Gate(
        private_key=told.private_key,
        server_names=frozenset(told.server_names),
        short_ids=frozenset(bytes.fromhex(one).ljust(SHORT_ID_LENGTH, b"\0") for one in told.short_ids),
        oldest=told.oldest_version,
        newest=told.newest_version,
    )
    if told.max_time_difference is not None:
        gate = attrs.evolve(gate, max_time_difference=told.max_time_difference)
    return ServerSettings(
        gate=gate,
        target=split_target(told.target),
        routes=Routes(
            allowed=told.allowed_networks or (),
            closed=told.closed_networks or (),
            internet=told.internet is not False,
        ),
        mldsa65_seed=told.mldsa65_seed or None,
    )


def _bind(host: str, port: int) -> socket.socket:
    address = ipaddress.ip_address(host)
    sock = this_world().tcp_socket(socket.AF_INET if address.version == 4 else socket.AF_INET6)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _close(doors: dict[Door, socket.socket]) -> None:
    for sock in doors.values():
        sock.close()
