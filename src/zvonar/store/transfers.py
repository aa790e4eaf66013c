"""Who was put through to whom? The second leg of an answered call, placed with its own hold, ended with its price."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

import msgspec
from msgspec import Struct
from psycopg.types.json import Jsonb

from zvonar.core.leg import LegId
from zvonar.core.money import Rate
from zvonar.store.db import Database


class TransferRefusal(StrEnum):
    """Why the second leg was not placed; nothing was changed then."""

    fenced = "fenced"  # another dialer has the gateway
    gone = "gone"  # the call is over
    stopped = "stopped"  # the target is on a stop list
    trunk_busy = "trunk_busy"
    no_money = "no_money"


class TransferPlacement(Struct, frozen=True, kw_only=True):
    """What the dialer asks for before the second leg exists."""

    account_id: int
    call_id: int
    campaign_id: int
    gateway: str
    epoch: int
    trunk_id: int
    caller_id: str | None
    target: str  # E.164, or a SIP name
    trial: bool  # whether it is one of the trial phone network
    rate: Rate
    hold: Decimal  # worst case of this leg
    held_by_campaign: bool
    guarded: bool


# The second leg exists, with its channel and its money, or none of it: see the migration.
PLACE_TRANSFER = """
SELECT place_transfer(
    p_account => %(account_id)s, p_call => %(call_id)s, p_campaign => %(campaign_id)s, p_gateway => %(gateway)s,
    p_epoch => %(epoch)s, p_trunk => %(trunk_id)s, p_caller_id => %(caller_id)s, p_target => %(target)s,
    p_trial => %(trial)s, p_rate => %(rate)s, p_hold => %(hold)s, p_held_by_campaign => %(held_by_campaign)s,
    p_guarded => %(guarded)s, p_now => %(now)s)
"""

# The call talks already: only the leg changes.
TRANSFER_ANSWERED = """
UPDATE legs SET phase = 'answered', answered_at = %(at)s
WHERE account_id = %(account_id)s AND leg_id = %(leg_id)s AND phase = 'dialled'
"""


async def place(db: Database, wanted: TransferPlacement, *, now: datetime) -> LegId | TransferRefusal:
    """Commit the second leg as `placing`, with its hold, or say why not. Safe to repeat."""
    params = {
        **msgspec.structs.asdict(wanted),
        "rate": Jsonb(msgspec.to_builtins(wanted.rate)),
        "guarded": wanted.guarded or wanted.held_by_campaign,
        "now": now,
    }
    placed = str(await db.value(PLACE_TRANSFER, params))
    return LegId.parse(placed) if "." in placed else TransferRefusal(placed)


async def mark_answered(db: Database, *, account_id: int, leg: LegId, at: datetime) -> None:
    """Commit that somebody is there."""
    await db.execute(TRANSFER_ANSWERED, {"account_id": account_id, "leg_id": str(leg), "at": at})
