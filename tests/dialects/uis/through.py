"""How do these tests put a subscriber through? By the statements that the dialer uses, with a clock of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tests.dialects.conftest import RATE

from zvonar.core.call import CallState, Next
from zvonar.core.facts import CallFacts, Kind, Operation, TransferReport
from zvonar.core.result import CallEnd, Disposition, Outcome, ScriptResult
from zvonar.dialects.callo.routes import PREFIXES
from zvonar.store import epochs, legs, transfers

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

OWN = "70009990000"
CONTACT = "70001230001"


class Second:
    """An employee who is called: after how many seconds he answers, if he does, and how long he talks."""

    def __init__(
        self, to: str, *, rings: int, talks: int | None, otherwise: Disposition | None = None
    ) -> None:
        self.to, self.rings, self.talks = to, rings, talks
        self.disposition = Disposition.answered if talks is not None else otherwise or Disposition.no_answer


def put_through(
    house: House,
    tenant: Tenant,
    *seconds: Second,
    recorded: bool = False,
    meanwhile: Callable[[], Awaitable[None]] | None = None,
) -> int:
    """A call that rings 4 s, hears a menu for 3 s, talks to these employees one after the other and hangs up a second
    later; its id. `meanwhile`: done while each employee rings, and while he talks."""
    campaign_id = house.campaign(tenant)
    form = {"public_key": tenant.callo, "phone": f"+{CONTACT}", "campaign_id": campaign_id}
    assert house.send("POST", PREFIXES[0] + "/phones/call/", data=form).status_code == 200
    account_id = tenant.account.account_id

    async def work() -> int:
        leased, leg = await house._ringing(tenant, campaign_id)
        house.clock += timedelta(seconds=4)
        answered = house.clock
        await legs.mark_answered(house.db, [legs.Answered(account_id=account_id, leg=leg, at=answered)])
        house.clock += timedelta(seconds=3)
        told = [
            await _transfer(
                house,
                account_id,
                campaign_id,
                leased.call_id,
                second,
                answered,
                recorded=recorded,
                meanwhile=meanwhile,
            )
            for second in seconds
        ]
        house.clock += timedelta(seconds=1)
        reached = any(one.disposition is Disposition.answered for one in told)
        outcome = Outcome(
            disposition=Disposition.answered,
            script_result=ScriptResult.transferred if reached else ScriptResult.choice,
            talk_seconds=int((house.clock - answered).total_seconds()),
            choice="1",
            hangup_cause=16,
        )
        menu = Operation(kind=Kind.menu, began=0, ended=3, node="1", choice="1")
        walked = [Operation(kind=Kind.transfer, began=one.began, ended=one.ended) for one in told]
        ended = legs.LegEnd(
            account_id=account_id,
            campaign_id=campaign_id,
            leg_id=leg,
            outcome=outcome,
            ended_at=house.clock,
            answered_at=answered,
            recording=f"{leg}.wav" if recorded else None,
            facts=CallFacts(operations=(menu, *walked), transfers=tuple(told)),
            next=Next(state=CallState.finished, call_end=CallEnd.success),
        )
        assert await legs.end(house.db, ended, now=house.clock)
        await house.filling.once()
        return leased.call_id

    return house.run(work())


async def _transfer(
    house: House,
    account_id: int,
    campaign_id: int,
    call_id: int,
    second: Second,
    answered: Any,
    *,
    recorded: bool,
    meanwhile: Callable[[], Awaitable[None]] | None,
) -> TransferReport:
    epoch = await epochs.claim(house.db, "gateway", now=house.clock)
    began = (house.clock - answered).total_seconds()
    placed = await transfers.place(
        house.db,
        transfers.TransferPlacement(
            account_id=account_id,
            call_id=call_id,
            campaign_id=campaign_id,
            gateway="gateway",
            epoch=epoch,
            trunk_id=house.trunk.trunk_id,
            caller_id=f"+{OWN}",
            target=second.to,
            trial=True,
            rate=RATE,
            hold=RATE.worst_case(60),
            held_by_campaign=False,
            guarded=False,
        ),
        now=house.clock,
    )
    assert not isinstance(placed, transfers.TransferRefusal), placed
    assert await legs.mark_dialled(house.db, account_id=account_id, leg=placed, epoch=epoch, now=house.clock)
    if meanwhile is not None:
        await meanwhile()
    house.clock += timedelta(seconds=second.rings)
    reached = None
    if second.talks is not None:
        reached = house.clock
        await transfers.mark_answered(house.db, account_id=account_id, leg=placed, at=reached)
        if meanwhile is not None:
            await meanwhile()
        house.clock += timedelta(seconds=second.talks)
    ended = legs.LegEnd(
        account_id=account_id,
        campaign_id=campaign_id,
        leg_id=placed,
        outcome=Outcome(
            disposition=second.disposition,
            hangup_cause=16 if reached else 17,
            talk_seconds=second.talks or 0,
        ),
        ended_at=house.clock,
        answered_at=reached,
    )
    assert await legs.end(house.db, ended, now=house.clock)
    return TransferReport(
        to=second.to,
        began=began,
        ended=(house.clock - answered).total_seconds(),
        disposition=second.disposition,
        answered=None if reached is None else (reached - answered).total_seconds(),
        talk_seconds=second.talks or 0,
        leg=str(placed),
        recording=f"{placed}.wav" if recorded and reached else None,
    )
