"""Which leased calls cannot be dialled now anyway? Their callees sleep, or were dialled often enough lately.

They go back all at once, each until its own moment, so that none of them takes a turn of a trunk from others.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from zvonar.core.control import Clock
from zvonar.dialer.book import Book
from zvonar.store import calls, caps
from zvonar.store.calls import Leased
from zvonar.store.campaigns import Campaign
from zvonar.store.db import Database


async def sift(
    db: Database, book: Book, leased: Sequence[Leased], *, epoch: int, now: datetime
) -> list[Leased]:
    """Those that may go on. Calls of campaigns without such limits pass unseen; a window that never opens is left to
    whoever serves the call.
    """
    later: dict[int, datetime] = {}
    asked: dict[int, list[Leased]] = defaultdict(list)
    for call in leased:
        campaign = book.campaigns.get(call.campaign_id)
        if campaign is None:
            continue
        opens = _opens(book, campaign, call, now)
        if opens is not None and opens > now:
            later[call.call_id] = opens
        elif book.caps(campaign):
            asked[campaign.campaign_id].append(call)
    for campaign_id, some in asked.items():
        campaign = book.campaigns[campaign_id]
        phones = sorted({call.phone for call in some})
        free_at = await caps.free_at(db, campaign.account_id, phones, book.caps(campaign), now=now)
        later |= {call.call_id: free_at[call.phone] for call in some if call.phone in free_at}
    if not later:
        return list(leased)
    back = [call for call in leased if call.call_id in later]
    await db.patiently(
        lambda: calls.release_some(db, [(call, later[call.call_id]) for call in back], epoch=epoch),
        what="release",
    )
    return [call for call in leased if call.call_id not in later]


def _opens(book: Book, campaign: Campaign, call: Leased, now: datetime) -> datetime | None:
    if campaign.settings.clock is Clock.campaign:
        return now  # what is leased was open a moment ago
    return book.hours(campaign, call, now).opens(now)
