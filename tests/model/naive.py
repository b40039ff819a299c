"""A queue server as the protocol tells it, in the plainest way that can be right.

One list of lines a life, one list of requests that wait; after every step each
waiting request is looked at again. Nothing is fast, nothing is indexed, and no
code of the server is used but the vocabulary (``batchq.model``) and the errors.

Where the protocol leaves a choice, the reading taken here is marked ``Reading:``.
"""

from __future__ import annotations

from typing import Literal

from model.naive_readers import Readers
from model.naive_state import Answer, AnyOf, Life, Request, Waiter
from model.naive_writers import Writers

from batchq import errors
from batchq.model import CloseRequest, End, Pulled, PullRequest, Pushed, QueueStats

Verb = Literal["ack", "release", "extend"]


class NaiveQueues(Writers, Readers):
    """The model; ``answers`` collects what was answered, in order, by ticket."""

    # --- the verbs

    def request(self, ticket: int, request: Request) -> None:
        """A push, a pull or a close comes in."""
        lost: tuple[str, ...] = ()
        if isinstance(request, PullRequest):
            lost = self._ack_first(request)
            self._settle()
        wait = 0.0 if isinstance(request, CloseRequest) else request.wait
        waiter = Waiter(ticket, request, self.now + wait, self.now + wait, lost)
        self.waiting.append(waiter)
        answer = self._try(waiter, arrived=True)
        if answer is not None:
            self._answer(waiter, answer)
        self._settle()
        if waiter in self.waiting and waiter.deadline <= self.now:
            self._time_out(waiter)
            self._settle()

    def cancel(self, ticket: int) -> None:
        """The client has gone. Reading: a push that waited is forgotten, too."""
        self.waiting = [waiter for waiter in self.waiting if waiter.ticket != ticket]
        self._settle()

    def leave(self, ticket: int) -> None:
        """The client of a pull has gone: all that was answered since it was ``leaving`` is void.

        Reading: others have been given what comes behind, and may now be given this.
        """
        self.leaving = None
        void = [answer for other, answer in self.answers if other == ticket]
        leases = {
            (answer.queue_id, answer.lease.id)
            for answer in void
            if isinstance(answer, Pulled) and answer.lease is not None
        }
        self.answers = [(other, answer) for other, answer in self.answers if other != ticket]
        for life in self.lives.values():
            for lease in list(life.leases):
                if (life.id, lease) in leases:
                    life.give_back(lease)
            for line in life.in_state("held"):
                line.state = "ready"
                line.deliveries -= 1
        self.cancel(ticket)

    def leases(
        self,
        ticket: int,
        verb: Verb,
        queue: str,
        ids: tuple[str, ...],
        seconds: float,
        queue_id: str | None,
    ) -> None:
        """Ack, release or extend."""
        life = self.lives.get(queue)
        if queue_id is not None and (life is None or life.id != queue_id):
            self.answers.append((ticket, errors.QueueReplaced("")))
            return
        known = [] if life is None else [name for name in ids if name in life.leases]
        lost = tuple(name for name in ids if name not in known)
        for name in known:
            assert life is not None
            if verb == "ack":
                life.be_done(name)
            elif verb == "release":
                life.put_back(name)
            else:
                life.leases[name] = self.now + min(seconds, self.limits.lease_seconds)
        if lost:
            self.answers.append((ticket, errors.LeaseLost("", lost=lost)))
        else:
            assert life is not None
            self.answers.append((ticket, life.id))
        self._settle()

    def delete(self, ticket: int, queue: str, queue_id: str | None) -> None:
        """Ends a life.

        Reading: its record is kept from then on, and no more records than queues may exist.
        """
        life = self.lives.get(queue)
        if life is None or (queue_id is not None and life.id != queue_id):
            self.answers.append((ticket, self._not_this_life(life)))
            return
        del self.lives[queue]
        life.gone_at = self.now + self.limits.keep_closed
        life.leases.clear()
        self.records[life.id] = life
        if len(self.records) > self.limits.queues:
            del self.records[next(iter(self.records))]
        self.answers.append((ticket, life.id))
        for waiter in [w for w in self.waiting if w.request.queue == queue]:
            if not isinstance(waiter.request, PullRequest):
                self._answer(waiter, errors.QueueReplaced(""))
        self._settle()

    def stats(self, queue: str, queue_id: str | None) -> Answer:
        """One queue as ``Store.stats`` tells it."""
        life = self.lives.get(queue)
        if life is None or (queue_id is not None and life.id != queue_id):
            return self._not_this_life(life) if queue_id else errors.NoSuchQueue("")
        waiting = [w for w in self.waiting if w.request.queue == queue]
        pulls = [w for w in waiting if isinstance(w.request, PullRequest)]
        closed = life.closed
        return QueueStats(
            queue=queue,
            queue_id=life.id,
            lines=len(life.lines),
            bytes=life.total_bytes,
            ready_lines=len(life.in_state("ready")),
            ready_bytes=sum(len(line.data) for line in life.in_state("ready")),
            leased_lines=len(life.in_state("leased")),
            leases=len(life.leases),
            stored_bytes=life.held_bytes,
            waiting_pulls=len(pulls),
            parked_pushes=len({w.place for w in waiting if w not in pulls}),
            producers=len(life.producers),
            closed=closed is not None,
            drained=life.drained,
            digest=closed.digest if closed else None,
            unterminated=closed.unterminated if closed else False,
        )

    def advance(self, seconds: float) -> None:
        """Time passes; what falls due on the way happens at its moment."""
        target = self.now + seconds
        while (moment := min(self._moments(), default=target + 1)) <= target:
            self.now = moment
            for life in list(self.lives.values()):
                for lease in [name for name, end in life.leases.items() if end <= moment]:
                    life.put_back(lease)
                if life.gone_at is not None and life.gone_at <= moment:
                    del self.lives[life.name]
            for record in list(self.records.values()):
                if record.gone_at is not None and record.gone_at <= moment:
                    del self.records[record.id]
            self._settle()
            for waiter in list(self.waiting):
                if waiter in self.waiting and waiter.deadline <= moment:
                    self._time_out(waiter)
                    self._settle()
        self.now = target

    # --- waiting

    def _moments(self) -> list[float]:
        lives = [*self.lives.values(), *self.records.values()]
        return [
            *(waiter.deadline for waiter in self.waiting),
            *(end for life in lives for end in life.leases.values()),
            *(life.gone_at for life in lives if life.gone_at is not None),
        ]

    def _settle(self) -> None:
        """Looks at each waiting request again, from the first, until nothing changes."""
        self._notice_drained()
        while self._answer_one():
            self._notice_drained()

    def _notice_drained(self) -> None:
        for life in self.lives.values():
            if life.drained and life.gone_at is None:
                life.gone_at = self.now + self.limits.keep_closed

    def _answer_one(self) -> bool:
        """Reading: each batch is handed out as soon as it is stored, before the next is."""
        pulls = [w for w in self.waiting if isinstance(w.request, PullRequest)]
        pushes = [w for w in self.waiting if w not in pulls]
        for waiter in [*pulls, *pushes]:
            room = waiter.room
            answer = self._try(waiter)
            if answer is not None:
                self._answer(waiter, answer)
                return True
            if waiter.room != room:
                return True  # it waits for room now: the queue is full, which pulls are told
        return False

    def _answer(self, waiter: Waiter, answer: Answer) -> None:
        self.waiting.remove(waiter)
        self.answers.append((waiter.ticket, answer))
        if isinstance(answer, Pushed | End):
            for twin in [w for w in self.waiting if w.place == waiter.place]:
                again = self._try(twin)
                if again is not None and twin in self.waiting:
                    self._answer(twin, again)

    def _time_out(self, waiter: Waiter) -> None:
        request = waiter.request
        if isinstance(request, PullRequest):
            answer = self._try_pull(waiter, request, over=True)
            assert answer is not None
        elif waiter.room is not None:
            answer = errors.QueueFull("")
        else:
            assert request.numbering is not None
            answer = self._gap(request.queue, request.numbering)
        self._answer(waiter, answer)

    def _try(self, waiter: Waiter, *, arrived: bool = False) -> Answer | None:
        if isinstance(waiter.request, PullRequest):
            return self._try_pull(waiter, waiter.request, over=False)
        return self._try_push(waiter, waiter.request, arrived=arrived)

    def _not_this_life(self, life: Life | None) -> Answer:
        """Reading: where no queue of the name is left, "none" and "replaced" are both true."""
        if life is None:
            return AnyOf((errors.NoSuchQueue(""), errors.QueueReplaced("")))
        return errors.QueueReplaced("")
