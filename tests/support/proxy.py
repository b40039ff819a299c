"""A TCP proxy between client and server that does harm as told.

    async with Proxy(server.address, FaultPlan(seed=7)) as proxy:
        ...  # talk to proxy.url
    assert proxy.counts[Kind.CUT] > 0

``Proxy`` runs in the caller's event loop, ``proxy_in_thread`` in a thread beside
subprocesses or blocking code. Bytes pass in order and unchanged; where a fault says
"after N bytes", exactly N bytes have been handed to the receiver's kernel. What the
kernel does with them is TCP's business: a reset may overtake them.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TypeVar

from support.faults import Fault, FaultPlan, Kind
from support.link import Address, Link

_ASK_SECONDS: Final = 10.0

_T = TypeVar("_T")


def address_of(url: str) -> Address:
    """Host and port of ``http://host:port``."""
    host, _, port = url.rpartition("/")[2].rpartition(":")
    return host, int(port)


@dataclass(frozen=True, slots=True)
class Fired:
    """A fault that has struck.

    Attributes:
        connection: its number, from 0.
        fault: what struck.
    """

    connection: int
    fault: Fault


class Proxy:
    """Passes connections on to a server, and harms them.

    Args:
        target: host and port of the server; may be set anew when it was restarted.
        plan: the faults by chance; none without it.
        latency: seconds that every byte is on its way, in each direction.

    Attributes:
        connections: how many were accepted.
        fired: the faults that struck, in that order.
    """

    def __init__(
        self, target: Address, plan: FaultPlan | None = None, *, latency: float = 0.0
    ) -> None:
        self.target = target
        self.plan = plan
        self.latency = latency
        self.connections = 0
        self.fired: list[Fired] = []
        self._injected: deque[Fault] = deque()
        self._links: dict[Link, asyncio.Task[None]] = {}
        self._watchers: set[asyncio.Future[None]] = set()
        self._listening: _Port | None = None

    @property
    def address(self) -> Address:
        """Where it listens."""
        return self._port.address

    @property
    def url(self) -> str:
        """The same, for HTTP."""
        host, port = self.address
        return f"http://{host}:{port}"

    @property
    def counts(self) -> Counter[Kind]:
        """How many faults of each kind have struck."""
        return Counter(fired.fault.kind for fired in self.fired)

    @property
    def open(self) -> int:
        """Connections that are open."""
        return len(self._links)

    def inject(self, *faults: Fault) -> None:
        """Lets faults strike, one connection each, beside those of the plan.

        The first connection on which the client sends something from now on takes the first
        one, and so on. Its bytes are counted from there, what the client sends included.
        A fault whose connection ends before it struck goes to the next one.
        """
        self._injected.extend(faults)

    async def struck(self, times: int = 1) -> None:
        """Waits until so many faults in all have struck."""
        while len(self.fired) < times:
            watcher = asyncio.get_running_loop().create_future()
            self._watchers.add(watcher)
            try:
                await watcher
            finally:
                self._watchers.discard(watcher)

    def cut_all(self, *, reset: bool = True) -> None:
        """Cuts all open connections now."""
        for link in self._links:
            link.end(reset=reset)

    def refuse(self) -> None:
        """Refuses new connections until ``accept``; open ones go on."""
        self._port.refuse()

    def accept(self) -> None:
        """Accepts connections (again)."""
        if not self._port.accepting:
            self._port.accept(self._serve)

    async def start(self) -> Self:
        """Listens, on a free port of the loopback."""
        self._listening = _Port()
        self.accept()
        return self

    async def stop(self) -> None:
        """Cuts what is open, and gives the port back."""
        self._port.close()
        for task in self._links.values():
            task.cancel()
        await asyncio.gather(*self._links.values(), return_exceptions=True)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def take(self) -> Fault | None:
        """Gives the next injected fault to the connection that asks."""
        return self._injected.popleft() if self._injected else None

    def give_back(self, fault: Fault) -> None:
        """Takes an injected fault back: its connection ended before it struck."""
        self._injected.appendleft(fault)

    def strike(self, connection: int, fault: Fault) -> None:
        """Notes a fault that struck, and refuses connections if that is its kind."""
        self.fired.append(Fired(connection, fault))
        if fault.kind is Kind.REFUSE:
            self._port.refuse()
            asyncio.get_running_loop().call_later(fault.seconds, self._accept_again)
        for watcher in self._watchers:
            if not watcher.done():
                watcher.set_result(None)

    def _accept_again(self) -> None:
        if not self._port.closed:
            self.accept()

    @property
    def _port(self) -> _Port:
        if self._listening is None:
            raise RuntimeError("the proxy was not started")
        return self._listening

    def _serve(self, client: socket.socket) -> None:
        number = self.connections
        self.connections += 1
        fault = self.plan.of(number) if self.plan is not None else None
        link = Link(self, client, number, fault)
        task = asyncio.get_running_loop().create_task(link.run())
        self._links[link] = task
        task.add_done_callback(lambda _: self._links.pop(link))


class _Port:
    """A port that listens, or refuses, and is its owner's all the while."""

    def __init__(self) -> None:
        self._keeper = _bound(("127.0.0.1", 0))
        self.address: Address = self._keeper.getsockname()
        self._listener: socket.socket | None = None
        self.closed = False

    @property
    def accepting(self) -> bool:
        return self._listener is not None

    def accept(self, serve: Callable[[socket.socket], None]) -> None:
        listener = self._listener = _bound(self.address)
        listener.listen(1024)

        def take() -> None:
            with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
                client, _ = listener.accept()
                client.setblocking(False)
                serve(client)

        asyncio.get_running_loop().add_reader(listener.fileno(), take)

    def refuse(self) -> None:
        """Closes the listener; the keeper is bound, and does not listen."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None

    def close(self) -> None:
        self.refuse()
        self._keeper.close()
        self.closed = True


def _bound(address: Address) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setblocking(False)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(address)
    return bound


class ThreadedProxy:
    """A proxy in a thread of its own, for code that blocks.

    Attributes:
        url: where it listens.
        address: the same as host and port.
    """

    def __init__(self, proxy: Proxy, loop: asyncio.AbstractEventLoop) -> None:
        self._proxy = proxy
        self._loop = loop
        self.url = proxy.url
        self.address = proxy.address

    @property
    def counts(self) -> Counter[Kind]:
        """How many faults of each kind have struck."""
        return self._ask(lambda: self._proxy.counts)

    @property
    def fired(self) -> list[Fired]:
        """The faults that struck, in that order."""
        return self._ask(lambda: list(self._proxy.fired))

    @property
    def connections(self) -> int:
        """How many connections were accepted."""
        return self._ask(lambda: self._proxy.connections)

    def inject(self, *faults: Fault) -> None:
        """As ``Proxy.inject``."""
        self._ask(lambda: self._proxy.inject(*faults))

    def cut_all(self, *, reset: bool = True) -> None:
        """As ``Proxy.cut_all``."""
        self._ask(lambda: self._proxy.cut_all(reset=reset))

    def refuse(self) -> None:
        """As ``Proxy.refuse``."""
        self._ask(self._proxy.refuse)

    def accept(self) -> None:
        """As ``Proxy.accept``."""
        self._ask(self._proxy.accept)

    def retarget(self, target: Address) -> None:
        """Passes connections on to another server from now on."""
        self._ask(lambda: setattr(self._proxy, "target", target))

    def struck(self, times: int = 1, seconds: float = 30.0) -> None:
        """Waits until so many faults have struck; a ``TimeoutError`` after ``seconds``."""
        waiting = asyncio.run_coroutine_threadsafe(self._proxy.struck(times), self._loop)
        try:
            waiting.result(seconds)
        finally:
            waiting.cancel()

    def _ask(self, what: Callable[[], _T]) -> _T:
        async def ask() -> _T:
            return what()

        return asyncio.run_coroutine_threadsafe(ask(), self._loop).result(_ASK_SECONDS)


@contextmanager
def proxy_in_thread(target: Address, plan: FaultPlan | None = None) -> Iterator[ThreadedProxy]:
    """A proxy that works in a thread for the length of the block."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        proxy = Proxy(target, plan)
        runner.run(proxy.start())
        thread = threading.Thread(target=loop.run_forever, name="proxy", daemon=True)
        thread.start()
        try:
            yield ThreadedProxy(proxy, loop)
        finally:
            asyncio.run_coroutine_threadsafe(proxy.stop(), loop).result(_ASK_SECONDS)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(_ASK_SECONDS)
