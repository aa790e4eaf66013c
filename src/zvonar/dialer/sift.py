"""Which leased calls cannot be dialled now anyway? Their callees sleep, or were dialled often enough lately.

They go back all at once, each until its own moment, so that none of them takes a turn of a trunk from others. Where
most of a campaign's calls are such, more of them are leased at a time: a million sleepers are soon out of the way.
Where a cap frees a callee only when it is too late for his call, that call has no attempt left, and ends.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from zvonar.core.control import Clock
from zvonar.dialer.book import Book
from zvonar.store import calls, caps
from zvonar.store.calls import Leased
from zvonar.store.campaigns import Campaign
from zvonar.store.db import Database

_MOST = 2000  # calls of one campaign that are looked at at a time


class Sieve:
    """Sifts what one dialer leases. Calls of campaigns without such limits pass unseen."""

    def __init__(self, db: Database, book: Book) -> None:
        self._db = db
        self._book = book
        self._factors: dict[int, int] = {}  # how many calls of a campaign are looked at for one that may go

    def to_lease(self, campaign: Campaign, share: int) -> int:
        """How many calls to lease so that about `share` of them may go."""
        return max(share, min(_MOST, share * self._factors.get(campaign.campaign_id, 1)))

    async def sift(
        self, leased: Sequence[Leased], shares: Mapping[int, int], *, epoch: int, now: datetime
    ) -> list[Leased]:
        """Those that may go on, of each campaign at most its share; the others are given back, or ended, when this
        returns.

        A window that never opens is left to whoever serves the call.
        """
        back, spent = await self._later(leased, now)
        sound: list[Leased] = []
        seen, gone = Counter(call.campaign_id for call in leased), Counter[int]()
        for call in leased:
            if call.call_id in back or call in spent:
                continue
            gone[call.campaign_id] += 1
            if gone[call.campaign_id] > shares[call.campaign_id]:
                back[call.call_id] = call.due_at  # one too many, and due as before
            else:
                sound.append(call)
        self._learn(seen, gone, shares)
        if spent:
            await self._db.patiently(
                lambda: calls.exhaust(self._db, spent, epoch=epoch, now=now), what="exhaust"
            )
        if back:
            returned = [(call, back[call.call_id]) for call in leased if call.call_id in back]
            await self._db.patiently(
                lambda: calls.release_some(self._db, returned, epoch=epoch), what="release"
            )
        return sound

    async def _later(
        self, leased: Sequence[Leased], now: datetime
    ) -> tuple[dict[int, datetime], list[Leased]]:
        """Until when each of those that cannot go has to wait, by call; and those that would wait in vain."""
        later: dict[int, datetime] = {}
        spent: list[Leased] = []
        asked: dict[int, list[Leased]] = defaultdict(list)
        for call in leased:
            campaign = self._book.campaigns.get(call.campaign_id)
            if campaign is None:
                continue
            opens = self._opens(campaign, call, now)
            if opens is not None and opens > now:
                later[call.call_id] = opens
            elif self._book.caps(campaign):
                asked[campaign.campaign_id].append(call)
        for campaign_id, some in asked.items():
            campaign = self._book.campaigns[campaign_id]
            free_at = await self._free_at(campaign, sorted({call.phone for call in some}), now)
            for call in some:
                if call.phone not in free_at:
                    continue
                if self._book.too_late(campaign, call, free_at[call.phone]):
                    spent.append(call)
                else:
                    later[call.call_id] = free_at[call.phone]
        return later, spent

    async def _free_at(self, campaign: Campaign, phones: list[str], now: datetime) -> dict[str, datetime]:
        limits = self._book.caps(campaign)
        # What is leased must not be forgotten because the database is away for a moment.
        return await self._db.patiently(
            lambda: caps.free_at(self._db, campaign.account_id, phones, limits, now=now), what="caps"
        )

    def _opens(self, campaign: Campaign, call: Leased, now: datetime) -> datetime | None:
        if campaign.settings.clock is Clock.campaign:
            return now  # what is leased was open a moment ago
        return self._book.hours(campaign, call, now).opens(now)

    def _learn(self, seen: Mapping[int, int], gone: Mapping[int, int], shares: Mapping[int, int]) -> None:
        for campaign_id, n in seen.items():
            factor = self._factors.get(campaign_id, 1)
            if gone.get(campaign_id, 0) * 2 < min(n, shares[campaign_id]):
                self._factors[campaign_id] = min(_MOST, factor * 4)
            elif factor > 1:
                self._factors[campaign_id] = max(1, min(factor, n // max(1, gone[campaign_id])))
