"""What does a list need? An account with a campaign, and somebody who works it off."""

import asyncio
import itertools
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO

from zvonar.core.campaign import CampaignSettings, CampaignStatus, CampaignType
from zvonar.core.schedule import ALL_DAY
from zvonar.core.script import Prompt, plain
from zvonar.intake import load, upload
from zvonar.intake.judge import Layout
from zvonar.intake.load import Ended
from zvonar.store import accounts, calls, campaigns, phone_lists
from zvonar.store.db import Database
from zvonar.store.phone_lists import Enqueue, PhoneList

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
_numbers = itertools.count(1)


class World:
    """One campaign of one account."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.account: accounts.Account
        self.campaign: campaigns.Campaign

    async def settle(self, *, duplicates: bool = False, lifetime: int | None = None) -> "World":
        self.account = await accounts.add(
            self.db,
            name=f"lists {next(_numbers)}",
            currency="RUB",
            timezone="UTC",
            countries=["RU"],
            balance=Decimal(1000),
            keys={},
            logins={},
            now=NOON,
        )
        settings = CampaignSettings(
            script=plain(Prompt(text="x")), window=ALL_DAY, allow_duplicates=duplicates, lifetime=lifetime
        )
        self.campaign = await campaigns.add(
            self.db,
            self.account.account_id,
            name="c",
            type=CampaignType.regular,
            settings=settings,
            status=CampaignStatus.running,
            now=NOON,
        )
        return self

    async def receive(
        self, lines: Iterable[str], *, layout: Layout | None = None, enqueue: Enqueue | None = None
    ) -> int:
        """A list is accepted; its id."""
        receipt = await upload.receive(
            self.db,
            self.account,
            self.campaign,
            BytesIO("\n".join(lines).encode()),
            layout=layout or Layout(),
            name="list.csv",
            enqueue=enqueue,
            now=NOON,
        )
        return receipt.phone_list_id

    async def work(
        self,
        phone_list_id: int,
        *,
        rows: int = 3,
        stop: asyncio.Event | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Ended:
        return await load.work(
            self.db,
            self.account.account_id,
            phone_list_id,
            stop=stop or asyncio.Event(),
            clock=lambda: NOON,
            rows=rows,
            progress=progress,
        )

    async def phone_list(self, phone_list_id: int) -> PhoneList:
        return await phone_lists.get(self.db, self.account.account_id, phone_list_id)

    async def calls(self) -> list[calls.Call]:
        pages = calls.each(self.db, self.account.account_id, self.campaign.campaign_id)
        return [call async for page in pages for call in page]

    async def rejected(self, phone_list_id: int) -> list[tuple[int, str]]:
        pages = phone_lists.rejects(self.db, await self.phone_list(phone_list_id))
        return [(row.line, row.reason) async for page in pages for row in page]

    async def tallied(self) -> dict[str, int]:
        return await campaigns.tallies(self.db, self.account.account_id, self.campaign.campaign_id)


def number(n: int) -> str:
    """A mobile number of its own."""
    return f"+7916{n:07d}"
