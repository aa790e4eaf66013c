"""May this one call come in? Key, rates, campaign, label and money are looked at in the statement that stores it."""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

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

# Calls that come while a transaction is under way are the next one: what a transaction costs beyond its calls is paid
# for all of them. Others begin beside it only where that would keep somebody waiting.
_TOGETHER = 64  # calls of one transaction
_AT_ONCE = 4  # transactions
_QUICK = 0.02  # seconds; one that takes longer waits for its disk or for somebody's lock


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


class Spoken(Struct, frozen=True, kw_only=True):
    """What a call says first, where no clip of it is known yet; it becomes one with the call."""

    text: str
    voice: Voice


class Request(Struct, frozen=True, kw_only=True):
    """A call that somebody wants to add."""

    campaign: Campaign  # as it was read
    new: NewCall
    says: Spoken | None  # None where its clip is known, or where it has none
    key: bytes  # the client's key, hashed
    number: bytes  # stands for the number within its campaign; not readable as one
    per_number: Rule
    at: datetime


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
    p_clip => %(clip_id)s, p_fingerprint => %(fingerprint)s, p_text => %(text)s, p_voice => %(voice)s,
    p_lifetime => %(lifetime)s, p_now => %(now)s)
"""

# See the migration.
ACCEPT_MANY = """
SELECT place, refusal, call_id, balance FROM accept_calls(
    p_calls => %(calls)s, p_kind => %(kind)s, p_key_scope => %(key_scope)s, p_key_count => %(key_count)s,
    p_key_seconds => %(key_seconds)s, p_number_scope => %(number_scope)s)
"""

# What accepting leaves to its caller, so that one ring does for many calls.
RING = "NOTIFY zvonar_calls"

_Waiting = tuple[Request, asyncio.Future[Accepted | Refusal | None]]

_ALONE = "alone"  # what the statement for many leaves to the one for one


class Acceptance:
    """Accepts calls of one kind of key. Those that come while others are being stored are stored together."""

    def __init__(self, db: Database, *, kind: str, per_key: Rule, number_scope: str) -> None:
        self._db = db
        self._common = {
            "kind": kind,
            "key_scope": per_key.scope,
            "key_count": per_key.count,
            "key_seconds": per_key.seconds,
            "number_scope": number_scope,
        }
        self._waiting: list[_Waiting] = []
        self._storing: set[asyncio.Task[None]] = set()
        self._under_way = 0  # of these; a task that has ended is forgotten a moment too late to count by
        self._slow = 0  # of these: those whose transaction is not quick

    async def accept(self, request: Request) -> Accepted | Refusal:
        """Accept a call; it is committed when this returns. Raises StoreUnavailable."""
        answer = None
        if request.says is None:  # a text that may become a clip is not waited for by others
            future: asyncio.Future[Accepted | Refusal | None] = asyncio.get_running_loop().create_future()
            self._waiting.append((request, future))
            if self._under_way == self._slow or len(self._waiting) >= _TOGETHER:
                self._begin()
            answer = await future
        return await self._accept_alone(request) if answer is None else answer

    def _begin(self) -> None:
        """Store what waits, beside what is being stored already."""
        if self._waiting and self._under_way < _AT_ONCE:
            self._under_way += 1
            task = asyncio.create_task(self._store())
            self._storing.add(task)
            task.add_done_callback(self._storing.discard)

    async def _store(self) -> None:
        """Store what waits, as much of it at once as there is, until nothing does."""
        try:
            while self._waiting:
                some, self._waiting = self._waiting[:_TOGETHER], self._waiting[_TOGETHER:]
                await self._store_together(some)
        finally:
            self._under_way -= 1

    async def _store_together(self, some: Sequence[_Waiting]) -> None:
        try:
            with self._watched():
                answers = await self._accept_many([request for request, _ in some])
        except Exception as exc:  # whoever waits for these is told, and those who come after them are served
            for _, future in some:
                if not future.done():
                    future.set_exception(exc)
            return
        for (_, future), answer in zip(some, answers, strict=True):
            if not future.done():  # its client may have gone away
                future.set_result(answer)

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """As long as this transaction is quick, whoever comes waits for its end; after that another begins."""
        slow = False

        def grown_slow() -> None:
            nonlocal slow
            slow = True
            self._slow += 1
            self._begin()

        timer = asyncio.get_running_loop().call_later(_QUICK, grown_slow)
        try:
            yield
        finally:
            timer.cancel()
            self._slow -= slow

    async def _accept_many(self, requests: Sequence[Request]) -> list[Accepted | Refusal | None]:
        """What became of each; None of those that have to be asked about alone."""
        calls = Jsonb([_plain(place, request) for place, request in enumerate(requests)], dumps=_JSON)
        answers: list[Accepted | Refusal | None] = [None] * len(requests)
        async with self._db.connection() as connection:
            found = await connection.execute(ACCEPT_MANY, {**self._common, "calls": calls})
            for place, refusal, call_id, balance in await found.fetchall():
                if refusal is None:
                    clip_id = requests[place].new.clip_id
                    answers[place] = Accepted(call_id=call_id, clip_id=clip_id, balance=balance)
                elif refusal != _ALONE:
                    answers[place] = Refusal(refusal)
        return answers

    async def _accept_alone(self, request: Request) -> Accepted | Refusal:
        campaign, new, says = request.campaign, request.new, request.says
        params = {
            **self._common,
            "account_id": campaign.account_id,
            "key": request.key,
            "campaign_id": campaign.campaign_id,
            "seen": campaign.updated_at,
            "number": request.number,
            "number_count": request.per_number.count,
            "number_seconds": request.per_number.seconds,
            "phone": new.phone.e164,
            "country": new.phone.country,
            "trial": new.phone.trial,
            "label": new.label,
            "overrides": Jsonb(msgspec.to_builtins(new.overrides)) if new.overrides else None,
            "clip_id": new.clip_id,
            "fingerprint": None if says is None else fingerprint(says.text, says.voice),
            "text": None if says is None else says.text,
            "voice": None if says is None else Jsonb(msgspec.to_builtins(says.voice)),
            "lifetime": campaign.settings.lifetime_of(campaign.type),
            "now": request.at,
        }
        try:
            async with self._db.connection() as connection:
                answer = await (await connection.execute(ACCEPT, params)).fetchone()
        except UniqueViolation as exc:
            if exc.diag.constraint_name != "calls_by_label":
                raise
            return Refusal.label_taken
        assert answer is not None
        refusal, call_id, clip_id, balance = answer
        return (
            Accepted(call_id=call_id, clip_id=clip_id, balance=balance)
            if refusal is None
            else Refusal(refusal)
        )


async def ring(db: Database) -> None:
    """Tell the dialer that there are calls."""
    await db.execute(RING)


_JSON = msgspec.json.Encoder().encode


def _plain(place: int, request: Request) -> Mapping[str, Any]:
    """A request as the statement for many reads it."""
    new = request.new
    return {
        "place": place,
        "account": request.campaign.account_id,
        "key": f"\\x{request.key.hex()}",
        "campaign": request.campaign.campaign_id,
        "seen": request.campaign.updated_at,
        "number": f"\\x{request.number.hex()}",
        "number_count": request.per_number.count,
        "number_seconds": request.per_number.seconds,
        "phone": new.phone.e164,
        "country": new.phone.country,
        "trial": new.phone.trial,
        "label": new.label,
        "overrides": new.overrides,
        "clip": new.clip_id,
        "lifetime": request.campaign.settings.lifetime_of(request.campaign.type),
        "at": request.at,
    }
