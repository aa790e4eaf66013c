"""Where is a call, and where may it go? The state machine and its laws.

    queued ──▶ dialing ──▶ talking ──▶ finished(call_end)
                 │  ▲         │
                 ▼  │         ▼  (machine, too short)
                waiting(until) ──▶ finished
    queued, waiting ──▶ removed | blocked | expired

A lease is columns beside the state, not a state.
"""

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from zvonar.core.errors import IllegalTransition
from zvonar.core.result import CallEnd, Disposition, Outcome
from zvonar.core.retry import RetryPolicy


class CallState(StrEnum):
    queued = "queued"  # waits for its first attempt
    dialing = "dialing"  # a leg is being placed or rings
    talking = "talking"  # the callee answered, the script runs
    waiting = "waiting"  # waits for a retry
    finished = "finished"
    removed = "removed"
    blocked = "blocked"  # stop list or closed destination
    expired = "expired"

    @property
    def final(self) -> bool:
        return self in FINAL


FINAL = frozenset({CallState.finished, CallState.removed, CallState.blocked, CallState.expired})
OPEN = frozenset(CallState) - FINAL
LEASABLE = frozenset({CallState.queued, CallState.waiting})

_ARROWS = {
    CallState.queued: FINAL | {CallState.dialing},
    CallState.dialing: {CallState.talking, CallState.waiting, CallState.finished, CallState.queued},
    CallState.talking: {CallState.waiting, CallState.finished},
    CallState.waiting: FINAL | {CallState.dialing},
}


def check(before: CallState, after: CallState) -> CallState:
    """`after`, if a call may go there from `before`; else IllegalTransition.

    queued → finished is a call that can never be dialled (no money, no route, no prompt); dialing → queued
    or waiting is a placement taken back before any INVITE was sent.
    """
    if after not in _ARROWS.get(before, frozenset()):
        raise IllegalTransition(f"{before} → {after}")
    return after


class Next(Struct, frozen=True, kw_only=True):
    """Where a call goes once an attempt is over."""

    state: CallState
    call_end: CallEnd | None = None  # set exactly when the state is final
    due_at: datetime | None = None  # when the retry is due; set exactly when waiting


def after_attempt(
    outcome: Outcome,
    *,
    policy: RetryPolicy,
    history: tuple[Outcome, ...],
    now: datetime,
    removing: bool,
    expires_at: datetime | None,
) -> Next:
    """What follows an attempt. `history`: the outcomes of earlier attempts of this call, oldest first.

    A removal that arrived while the call was up is honoured here, unless the attempt succeeded anyway:
    what has happened has happened.
    """
    if outcome.succeeded:
        return Next(state=CallState.finished, call_end=CallEnd.success)
    if removing:
        return Next(state=CallState.finished, call_end=CallEnd.removed)
    match outcome.disposition:
        case Disposition.no_money:
            return Next(state=CallState.finished, call_end=CallEnd.no_money)
        case Disposition.blocked | Disposition.cancelled:
            return Next(state=CallState.finished, call_end=CallEnd.stopped)
        case _:
            retry_at = policy.retry_at(outcome, history=history, now=now)
    if retry_at is None:
        # An outcome that is never retried ends the call by itself, however many attempts came before it;
        # only one that would have been retried can have run out of attempts.
        end = CallEnd.attempts_exhausted if policy.wants(outcome) else CallEnd.unsuccessful
        return Next(state=CallState.finished, call_end=end)
    if expires_at is not None and retry_at >= expires_at:
        return Next(state=CallState.finished, call_end=CallEnd.expired)
    return Next(state=CallState.waiting, due_at=retry_at)
