"""May this one call come in? Key, rates, campaign, label and money are looked at in the statement that stores it."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

import msgspec
from msgspec import Struct
from psycopg.errors import UniqueViolation
from psycopg.types.json import Jsonb

from zvonar.core.campaign import Voice
from zvonar.store.calls import NewCall
from zvonar.store.campaigns import Campaign
from zvonar.store.clips import fingerprint
from zvonar.store.db import Database
from zvonar.store.limits import Rule


class Refusal(StrEnum):
    """Why a call was not accepted; nothing but the key's rate was changed then."""

    unauthorised = "unauthorised"  # the key is not valid any more
    too_many = "too_many"  # requests of this key
    no_balance = "no_balance"
    no_campaign = "no_campaign"
    cancelled = "cancelled"  # the campaign
    stale = "stale"  # the campaign has changed since it was read: read it again
    label_taken = "label_taken"
    too_often = "too_often"  # this number in this campaign
    no_money = "no_money"  # the completed campaign's max_cost cannot be held again


class Asking(Struct, frozen=True, kw_only=True):
    """Who asks, and how often that may happen."""

    key: bytes  # the key's hash
    kind: str  # of key
    per_key: Rule
    number: bytes  # stands for the number within its campaign; not readable as one
    per_number: Rule


class Spoken(Struct, frozen=True, kw_only=True):
    """What a call says first, where no clip of it is known yet; it becomes one with the call."""

    text: str
    voice: Voice


class Accepted(Struct, frozen=True, kw_only=True):
    """A call that is committed."""

    call_id: int
    clip_id: int | None
    balance: Decimal  # of the account, at that moment


# See the migration.
ACCEPT = """
SELECT refusal, call_id, clip_id, balance FROM accept_call(
    p_account => %(account_id)s, p_key => %(key)s, p_kind => %(kind)s, p_key_scope => %(key_scope)s,
    p_key_count => %(key_count)s, p_key_seconds => %(key_seconds)s, p_campaign => %(campaign_id)s,
    p_seen => %(seen)s, p_number_scope => %(number_scope)s, p_number => %(number)s,
    p_number_count => %(number_count)s, p_number_seconds => %(number_seconds)s, p_phone => %(phone)s,
    p_country => %(country)s, p_trial => %(trial)s, p_label => %(label)s, p_overrides => %(overrides)s,
    p_clip => %(clip_id)s, p_fingerprint => %(fingerprint)s, p_text => %(text)s, p_voice => %(voice)s, p_now => %(now)s)
"""


class _Answer(Struct, frozen=True, kw_only=True):
    refusal: str | None
    call_id: int | None
    clip_id: int | None
    balance: Decimal | None


async def accept(
    db: Database, campaign: Campaign, new: NewCall, asking: Asking, *, says: Spoken | None, now: datetime
) -> Accepted | Refusal:
    """Accept one call of a campaign as it was read; committed when this returns.

    `says`: of a call whose clip is not known; None also where it has none.
    """
    params = {
        "account_id": campaign.account_id,
        "key": asking.key,
        "kind": asking.kind,
        "key_scope": asking.per_key.scope,
        "key_count": asking.per_key.count,
        "key_seconds": asking.per_key.seconds,
        "campaign_id": campaign.campaign_id,
        "seen": campaign.updated_at,
        "number_scope": asking.per_number.scope,
        "number": asking.number,
        "number_count": asking.per_number.count,
        "number_seconds": asking.per_number.seconds,
        "phone": new.phone.e164,
        "country": new.phone.country,
        "trial": new.phone.trial,
        "label": new.label,
        "overrides": Jsonb(msgspec.to_builtins(new.overrides)) if new.overrides else None,
        "clip_id": new.clip_id,
        "fingerprint": None if says is None else fingerprint(says.text, says.voice),
        "text": None if says is None else says.text,
        "voice": None if says is None else Jsonb(msgspec.to_builtins(says.voice)),
        "now": now,
    }
    try:
        answer = await db.row(_Answer, ACCEPT, params)
    except UniqueViolation as exc:
        if exc.diag.constraint_name != "calls_by_label":
            raise
        return Refusal.label_taken
    assert answer is not None
    if answer.refusal is not None:
        return Refusal(answer.refusal)
    assert answer.call_id is not None
    assert answer.balance is not None
    return Accepted(call_id=answer.call_id, clip_id=answer.clip_id, balance=answer.balance)
