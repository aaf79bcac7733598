"""SSH connections, shared by the threads of a process; a forked child makes its own.

A connection copied by a fork would still be the parent's: both would send over the same socket under the same cipher. So
the child drops it, and makes sure that nothing in it can close the connection in the parent's name.
"""

import contextlib
import os
import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from artifactstore.backend.sftp.protocol import SftpChannel, SftpStatus

__all__ = ["ConnectionPool"]

_CHANNELS: Final = 4  # on one connection; OpenSSH allows 10, and one connection uses one core
_SILENCE: Final = 60.0  # seconds without a byte
_POOLS: Final["weakref.WeakSet[ConnectionPool]"] = weakref.WeakSet()
_ORPHANED: Final[list[Any]] = []  # the parent's connections, which a forked child must not even garbage-collect


class ConnectionPool:
    """A pool of SFTP channels to one server.

    Args:
        login: returns a paramiko client that is logged in.
        size: the maximum number of channels.
    """

    def __init__(self, login: Callable[[], Any], size: int) -> None:
        self._login = login
        self._size = size
        self._begin()
        _POOLS.add(self)

    def _begin(self) -> None:
        self._room = threading.BoundedSemaphore(self._size)
        self._opening = threading.Lock()
        self._idle: list[SftpChannel] = []
        self._wires: set[SftpChannel] = set()
        self._clients: list[Any] = []
        weakref.finalize(self, _close, os.getpid(), self._clients)

    @contextmanager
    def wire(self) -> Iterator[SftpChannel]:
        """Lend a channel; it is not used again after any error except a refusal of the server.

        Raises:
            BackendError: no connection.
        """
        with self._room:
            wire = self._take()
            good = False
            try:
                yield wire
                good = True
            except SftpStatus:
                good = True
                raise
            finally:
                if good:
                    self._idle.append(wire)
                else:
                    self._drop(wire)

    def _take(self) -> SftpChannel:
        while True:
            try:
                wire = self._idle.pop()  # atomic, so no lock
            except IndexError:
                break
            if _alive(wire.channel):
                return wire
            self._drop(wire)
        with self._opening:
            wire = SftpChannel(self._channel())
            self._wires.add(wire)
            return wire

    def _channel(self) -> Any:
        """Open a channel on a connection with capacity, or on a new one."""
        for client in [*self._clients]:
            transport = client.get_transport()
            if transport is None or not transport.is_active():
                self._clients.remove(client)
                client.close()
                continue
            if sum(wire.channel.transport is transport for wire in self._wires) < _CHANNELS:
                return _subsystem(transport)
        client = self._login()
        self._clients.append(client)
        return _subsystem(client.get_transport())

    def _drop(self, wire: SftpChannel) -> None:
        self._wires.discard(wire)
        with contextlib.suppress(Exception):  # the connection is broken already
            wire.channel.close()

    def reset_after_fork(self) -> None:
        """Reset after a fork, in the child; the parent's connections stay the parent's."""
        for wire in self._wires:
            wire.channel.lock = threading.Lock()  # a fork may have copied it while locked
            wire.channel.closed = True  # else it would send a close message in the parent's name
        for client in self._clients:
            transport = client.get_transport()
            if transport is not None:
                transport.active = False
                if isinstance(transport.sock, socket.socket):
                    transport.sock.close()  # only this process's copy
        _ORPHANED.append((self._wires, self._clients))
        self._begin()


def _subsystem(transport: Any) -> Any:
    channel = transport.open_session(timeout=_SILENCE)
    channel.settimeout(_SILENCE)
    channel.invoke_subsystem("sftp")
    return channel


def _alive(channel: Any) -> bool:
    return not channel.closed and channel.transport.is_active()


def _close(pid: int, clients: list[Any]) -> None:
    if pid == os.getpid():
        for client in clients:
            with contextlib.suppress(Exception):  # the peer is gone
                client.close()


def _reset_after_fork() -> None:
    for pool in [*_POOLS]:
        pool.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
