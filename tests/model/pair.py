"""A store and the model, side by side: the same steps, the answers compared.

The store's ids of lives and leases are random; the model's are made of a count.
They are matched when they are first seen in the same place, one to one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import fields, is_dataclass, replace
from typing import Any, Final, Protocol

from model.naive import NaiveQueues, Verb
from model.naive_state import AnyOf
from support.cancelling import cancelled_when
from support.clock import EPOCH, VirtualTimeLoop, advance, settle

from batchq import errors
from batchq.model import CloseRequest, Lease, Limits, PullRequest, PushRequest, QueueStats
from batchq.stores.base import Store
from batchq.stores.memory import MemoryStore

TICK: Final = 1 / 1024
"""Seconds that pass in each step, so that deadlines of two steps never fall together."""


class Differ(AssertionError):
    """The store and the model say different things."""


class Ids:
    """Which of the model's ids is which of the store's."""

    def __init__(self) -> None:
        self._real: dict[str, str] = {}
        self._model: dict[str, str] = {}

    def bind(self, real: str, model: str) -> bool:
        """Whether the two are, or may become, a pair."""
        if self._real.get(model, real) != real or self._model.get(real, model) != model:
            return False
        self._real[model], self._model[real] = real, model
        return True

    def real(self, model: str) -> str:
        return self._real.get(model, model)


class Under(Protocol):
    """A store under test, with the loop that it runs on."""

    loop: VirtualTimeLoop
    store: Store

    def left(self) -> object:
        """What there is, where nothing should be; empty where all is well."""


class UnderMemory:
    """The memory store."""

    def __init__(self, limits: Limits) -> None:
        self.loop = VirtualTimeLoop()
        self.memory = MemoryStore(limits)
        self.store: Store = self.memory

    def left(self) -> object:
        hub = self.memory._broker._hub
        return [*hub.slots.values(), *hub.records.values()]


class Pair:
    """Drives both; every method is one step and ends with a full comparison."""

    def __init__(self, limits: Limits, under: Under | None = None) -> None:
        self.under = under or UnderMemory(limits)
        self.loop = self.under.loop
        self.store = self.under.store
        self.model = NaiveQueues(limits, EPOCH)
        self.ids = Ids()
        self.tickets = 0
        self.tasks: dict[int, asyncio.Task[object]] = {}
        self.finished: list[int] = []
        self.kinds: dict[int, str] = {}
        self.at_once = isinstance(self.under, UnderMemory)
        """What answers a pull does so in one turn of the loop: it can be cancelled in it."""
        self.in_order = True
        """Calls that are answered in one step are so in the model's order."""
        self.leaving: int | None = None
        self.left = 0
        """How many pulls were cancelled in the moment in which they were answered."""
        self._agreed = True
        self._run(self.store.start())

    # --- steps

    def request(
        self, request: PushRequest | PullRequest | CloseRequest, leaving: int | None = None
    ) -> object:
        """A push, pull or close; returns the model's answer, or None while it waits.

        A pull that is ``leaving`` is cancelled: as soon as this has it answered, or else after.
        """
        ticket = self._ticket(type(request).__name__)
        if leaving is not None:
            leaving = leaving if leaving in self.waiting() else None
        self.leaving = self.model.leaving = leaving
        own = replace(request, queue_id=self._real(request.queue_id))
        if isinstance(own, PushRequest):
            self._start(ticket, self.store.push(own))
        elif isinstance(own, CloseRequest):
            self._start(ticket, self.store.close(own))
        else:
            acks = tuple(map(self.ids.real, own.ack))
            pull = self.store.pull(replace(own, ack=acks))
            self._start(ticket, cancelled_when(pull, lambda: self.leaving == ticket))
        self._run(settle())
        self.model.request(ticket, request)
        if leaving is not None:
            self._leave(leaving)
        self._compare()
        return self._given(ticket)

    def leases(
        self, verb: Verb, queue: str, ids: tuple[str, ...], seconds: float, queue_id: str | None
    ) -> None:
        ticket = self._ticket(verb)
        real, life = tuple(map(self.ids.real, ids)), self._real(queue_id)
        if verb == "ack":
            self._start(ticket, self.store.ack(queue, real, life))
        elif verb == "release":
            self._start(ticket, self.store.release(queue, real, life))
        else:
            self._start(ticket, self.store.extend(queue, real, seconds, life))
        self._run(settle())
        self.model.leases(ticket, verb, queue, ids, seconds, queue_id)
        self._compare()

    def delete(self, queue: str, queue_id: str | None) -> None:
        ticket = self._ticket("delete")
        self._start(ticket, self.store.delete(queue, self._real(queue_id)))
        self._run(settle())
        self.model.delete(ticket, queue, queue_id)
        self._compare()

    def cancel(self, ticket: int) -> None:
        self.tasks[ticket].cancel()
        self._run(settle())
        self.model.cancel(ticket)
        if ticket not in self.finished:
            raise Differ(f"{ticket} was cancelled and still waits")
        self.finished.remove(ticket)
        del self.tasks[ticket]
        self._compare()

    def _leave(self, ticket: int) -> None:
        served = ticket not in self.waiting()
        if served != (ticket in self.finished):
            raise Differ(f"{ticket} was answered by one of the two as it was cancelled")
        self.leaving = None
        self.left += served
        if not served:
            self.tasks[ticket].cancel()
            self._run(settle())
        self.model.leave(ticket)
        if not self.tasks[ticket].cancelled():
            raise Differ(f"{ticket} was cancelled, and answered")
        self.finished.remove(ticket)
        del self.tasks[ticket]

    def advance(self, seconds: float) -> None:
        self._run(advance(seconds))
        self.model.advance(seconds)
        self._compare()

    def close(self) -> None:
        """Ends all there is: nothing may be left of it. Then stops the store."""
        try:
            if self._agreed:
                self._end_all()
        finally:
            for task in self.tasks.values():
                task.cancel()
            self._run(self.store.stop())
            self._run(settle())
            self.loop.close()

    def _end_all(self) -> None:
        # One that leaves may let others go on.
        while waiting := self.waiting():
            self.cancel(waiting[0])
        for queue in list(self.model.lives):
            self.delete(queue, None)
        self.advance(2 * self.model.limits.keep_closed)
        left = self.under.left()
        if left:
            raise Differ(f"left over: {left}")

    # --- looking

    def waiting(self) -> list[int]:
        return [waiter.ticket for waiter in self.model.waiting]

    def waiting_pulls(self) -> list[tuple[int, str]]:
        """Tickets, and the queues they ask."""
        pulls = [w for w in self.model.waiting if isinstance(w.request, PullRequest)]
        return [(waiter.ticket, waiter.request.queue) for waiter in pulls]

    def stats(self, queue: str) -> QueueStats | None:
        """Compares the statistics of a queue; returns the store's."""
        real = self._outcome(self.store.stats(queue, None))
        self._same(real, self.model.stats(queue, None), "stats")
        life = self.model.lives.get(queue)
        producers = {} if life is None else life.producers
        for producer, known in producers.items():
            state = self._outcome(self.store.producer(queue, producer, None))
            self._same(state, known, "producer")
        return real if isinstance(real, QueueStats) else None

    # --- within

    def _real(self, queue_id: str | None) -> str | None:
        return None if queue_id is None else self.ids.real(queue_id)

    def _run(self, what: Coroutine[Any, Any, object]) -> None:
        self.loop.run_until_complete(what)

    def _ticket(self, kind: str) -> int:
        self._run(advance(TICK))
        self.model.advance(TICK)
        self._compare()
        self.tickets += 1
        self.kinds[self.tickets] = kind
        return self.tickets

    def _start(self, ticket: int, call: Coroutine[Any, Any, object]) -> None:
        task = self.loop.create_task(call)
        self.tasks[ticket] = task
        task.add_done_callback(lambda _: self.finished.append(ticket))

    def _outcome(self, call: Coroutine[Any, Any, object]) -> object:
        try:
            return self.loop.run_until_complete(call)
        except errors.BatchqError as error:
            return error

    def _given(self, ticket: int) -> object:
        return next((answer for t, answer in self._last if t == ticket), None)

    def _compare(self) -> None:
        """Compares what was answered since the last step; offsets show the order."""
        self._agreed = False
        expected, self.model.answers = self.model.answers, []
        finished, self.finished = self.finished, []
        self._last = expected
        if sorted(finished) != sorted(ticket for ticket, _ in expected):
            said = {t: self._result(t) for t in finished}
            raise Differ(f"answered: store {said}, model {expected}")
        for ticket, answer in expected:
            self._same(self._result(ticket), answer, f"{ticket} {self.kinds[ticket]}")
            del self.tasks[ticket]
        self._agreed = True

    def _result(self, ticket: int) -> object:
        task = self.tasks[ticket]
        error = task.exception()
        if error is not None and not isinstance(error, errors.BatchqError):
            raise error
        return error if error is not None else task.result()

    def _same(self, real: object, model: object, what: str) -> None:
        choices = model.choices if isinstance(model, AnyOf) else (model,)
        if not any(self._equal(real, choice) for choice in choices):
            raise Differ(f"{what}:\n  store {_show(real)}\n  model {_show(model)}")

    def _equal(self, real: object, model: object) -> bool:
        if type(real) is not type(model):
            return False
        if isinstance(real, errors.BatchqError):
            mine, other = vars(real), vars(model)
            told = ("epoch", "expected", "received")
            if any(mine.get(name) != other.get(name) for name in told):
                return False
            lost, expected = mine.get("lost", ()), other.get("lost", ())
            return bool(lost == tuple(map(self.ids.real, expected)))
        if isinstance(real, str):
            assert isinstance(model, str)
            return self.ids.bind(real, model)
        if is_dataclass(real):
            return all(
                self._equal_field(f.name, getattr(real, f.name), getattr(model, f.name))
                for f in fields(real)
                if not (f.name == "lines" and getattr(real, "duplicate", False))
            )
        return real == model

    def _equal_field(self, name: str, real: object, model: object) -> bool:
        if name == "lost":
            assert isinstance(model, tuple)
            return real == tuple(map(self.ids.real, model))
        if name == "queue_id" and isinstance(real, str) and isinstance(model, str):
            return self.ids.bind(real, model)
        if name == "ready" and not self.in_order:
            # What is left is told as of each answer's own moment.
            assert isinstance(real, int)
            assert isinstance(model, int)
            return abs(real - model) <= self._moved_in_all()
        if name == "deliveries" and isinstance(real, int) and isinstance(model, int):
            return (real == 1) == (model == 1)
        if isinstance(real, Lease) and isinstance(model, Lease):
            return real.seconds == model.seconds and self.ids.bind(real.id, model.id)
        return real == model

    def _moved_in_all(self) -> int:
        """Lines that other calls of the step may have moved; none where there was one."""
        if len(self._last) == 1:
            return 0
        choices = [a.choices if isinstance(a, AnyOf) else (a,) for _, a in self._last]
        return sum(max(getattr(one, "lines", 0) for one in some) for some in choices)


def _show(answer: object) -> str:
    if isinstance(answer, AnyOf):
        return " or ".join(map(_show, answer.choices))
    if isinstance(answer, errors.BatchqError):
        return f"{type(answer).__name__}({vars(answer)})"
    return repr(answer)
