"""The model's pulls."""

from __future__ import annotations

from model.naive_state import Answer, Life, Line, LineState, State, Waiter, is_utf8

from batchq import errors
from batchq.model import Lease, Nothing, Pulled, PullRequest


class Readers(State):
    """Decides what becomes of a pull as things are."""

    def _ack_first(self, request: PullRequest) -> tuple[str, ...]:
        life = self.lives.get(request.queue)
        if life is None or request.queue_id not in {None, life.id}:
            return request.ack
        lost = []
        for lease in request.ack:
            if lease in life.leases:
                life.be_done(lease)
            else:
                lost.append(lease)
        return tuple(lost)

    def _try_pull(self, waiter: Waiter, request: PullRequest, *, over: bool) -> Answer | None:
        life = self.lives.get(request.queue)
        if request.queue_id is not None and (life is None or life.id != request.queue_id):
            record = self.records.get(request.queue_id)
            if record is not None and record.name == request.queue and record.drained:
                return record.end(lost=waiter.lost)
            return errors.QueueReplaced("")
        if life is None:
            return Nothing(None, waiter.lost) if over else None
        if request.lease_id in life.leases:
            return self._again(life, request, waiter.lost)
        if not life.in_state("ready"):
            if life.drained:
                return life.end(lost=waiter.lost)
            return Nothing(life.id, waiter.lost) if over else None
        return self._try_run(life, waiter, request, over=over)

    def _try_run(
        self, life: Life, waiter: Waiter, request: PullRequest, *, over: bool
    ) -> Answer | None:
        first = next(i for i, line in enumerate(life.lines) if line.state == "ready")
        run: list[Line] = []
        grows = True
        for line in life.lines[first:]:
            if line.state != "ready":
                grows = False
                break
            run.append(line)
        taken = run[: request.max]
        while len(taken) > 1 and sum(len(line.data) for line in taken) > request.max_bytes:
            taken.pop()
        enough = (
            len(run) >= request.min
            or sum(len(line.data) for line in run) >= request.max_bytes
            or not grows
            or life.closed is not None
            or self._is_full(life)
        )
        if not enough and not over:
            return None
        if not enough and not request.partial:
            return Nothing(life.id, waiter.lost)
        if request.lease is not None and len(life.leases) >= self.limits.leases:
            return errors.TooManyLeases("")
        if request.utf8:
            good = [is_utf8(line.data) for line in taken]
            taken = taken[: good.index(False)] if False in good else taken
            if not taken:
                return errors.NotAcceptable("")
        return self._hand_out(life, first, taken, waiter, request)

    def _is_full(self, life: Life) -> bool:
        """Reading: no byte more fits, or a push did not fit (it waits, or was refused)."""
        return (
            life.refused
            or life.held_bytes >= self.limits.queue_bytes
            or any(w.request.queue == life.name and w.room is not None for w in self.waiting)
        )

    def _hand_out(
        self,
        life: Life,
        first: int,
        taken: list[Line],
        waiter: Waiter,
        request: PullRequest,
    ) -> Pulled:
        """Reading: a pull that was cancelled before it was answered makes no room."""
        lease = None
        if request.lease is not None:
            seconds = min(request.lease, self.limits.lease_seconds)
            self._count += 1
            lease = Lease(request.lease_id or f"lease-{self._count}", seconds)
            life.leases[lease.id] = self.now + seconds
            life.handed[lease.id] = 1
        gone: LineState = "held" if waiter.ticket == self.leaving else "done"
        for line in taken:
            line.deliveries += 1
            line.state = gone if lease is None else "leased"
            line.lease = None if lease is None else lease.id
        if lease is None and gone == "done":
            life.refused = False
        return self._pulled(life, first, taken, lease, waiter.lost)

    def _again(self, life: Life, request: PullRequest, lost: tuple[str, ...]) -> Pulled:
        """Reading: handed out once more; the lease then holds as long as this request asks."""
        assert request.lease_id is not None
        assert request.lease is not None
        seconds = min(request.lease, self.limits.lease_seconds)
        life.leases[request.lease_id] = self.now + seconds
        life.handed[request.lease_id] += 1
        same = [line for line in life.lines if line.lease == request.lease_id]
        for line in same:
            line.deliveries += 1
        lease = Lease(request.lease_id, seconds)
        return self._pulled(life, life.lines.index(same[0]), same, lease, lost)

    def _pulled(
        self,
        life: Life,
        first: int,
        lines: list[Line],
        lease: Lease | None,
        lost: tuple[str, ...],
    ) -> Pulled:
        return Pulled(
            queue_id=life.id,
            offset=first,
            position=lines[0].position,
            lines=len(lines),
            data=b"".join(line.data for line in lines),
            ready=len(life.in_state("ready")),
            deliveries=max(line.deliveries for line in lines),
            lease=lease,
            lost=lost,
        )
