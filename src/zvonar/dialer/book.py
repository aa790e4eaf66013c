"""What did the store say at the last look? Who wants to dial, who pays for it, over which trunks."""

from datetime import datetime
from zoneinfo import ZoneInfo

from zvonar.core.campaign import schedule_of
from zvonar.core.control import Cap, Clock
from zvonar.core.money import Tariff
from zvonar.core.pacing import Pacer
from zvonar.core.schedule import Schedule, zone_of
from zvonar.core.zones import zones_for
from zvonar.dialer.hours import Hours
from zvonar.dialer.routes import Routes
from zvonar.store import accounts, campaigns, trunks
from zvonar.store.accounts import Account
from zvonar.store.calls import Leased
from zvonar.store.campaigns import Campaign
from zvonar.store.db import Database

_REMEMBERED = 5000  # schedules; those of one campaign are as many as its callees have zones


class Book:
    """A copy that is at most a look old; what it allows is checked again by the statement that acts."""

    def __init__(self, db: Database, routes: Routes, *, gateway: str) -> None:
        self._db = db
        self._routes = routes
        self._gateway = gateway
        self.campaigns: dict[int, Campaign] = {}  # running ones whose subscribers we call, by id
        self.incoming: dict[int, Campaign] = {}  # running ones whose subscribers call us, by id
        self.countries: list[str] = []  # in which numbers that come in are read, the commonest first
        self._paces: dict[int, Pacer] = {}  # of campaigns with a limit of their own
        self._payers: dict[int, tuple[Account, Tariff]] = {}
        self._hours: dict[Schedule, Hours] = {}

    async def look(self) -> None:
        """Take campaigns, accounts and trunks as they are now. Raises StoreUnavailable, and changes nothing then."""
        every = await campaigns.running(self._db)
        running = [found for found in every if found.type.dialled]
        countries = await accounts.home_countries(self._db)
        payers = await accounts.payers(self._db, {campaign.account_id for campaign in running})
        carrying = await trunks.of_gateway(self._db, self._gateway)
        self._payers = payers
        self.countries = countries
        self.incoming = {found.campaign_id: found for found in every if not found.type.dialled}
        self.campaigns = {campaign.campaign_id: campaign for campaign in running}
        self._paces = {
            campaign.campaign_id: self._pace(campaign)
            for campaign in running
            if campaign.settings.calls_per_second
        }
        self._routes.weigh({campaign.campaign_id: campaign.settings.weight for campaign in running})
        self._routes.renew(carrying)

    def open(self, campaign: Campaign, now: datetime) -> bool:
        """Whether the campaign's window is open for anybody."""
        return self._hours_of(self._schedule(campaign)).is_open(now)

    def opens(self, campaign: Campaign, now: datetime) -> datetime | None:
        """When it opens next; None for never."""
        return self._hours_of(self._schedule(campaign)).opens(now)

    def hours(self, campaign: Campaign, call: Leased, now: datetime) -> Hours:
        """When this callee may be dialled."""
        settings = campaign.settings
        if settings.clock is Clock.campaign:
            return self._hours_of(self._schedule(campaign))
        zones = zones_for(
            call.phone,
            contact=(call.overrides or {}).get("timezone"),
            clock=settings.clock,
            home=self._home(campaign),
            at=now,
        )
        return self._hours_of(Schedule(settings.window, zones))

    def too_late(self, campaign: Campaign, call: Leased, free_at: datetime) -> bool:
        """Whether a call that may not be dialled before `free_at` will never be."""
        if call.expires_at is not None and free_at >= call.expires_at:
            return True
        # Not by the clock that answers for now: this is about another day.
        return Hours(self.hours(campaign, call, free_at).schedule).opens(free_at) is None

    def caps(self, campaign: Campaign) -> tuple[Cap, ...]:
        """How often a callee may be dialled: by this campaign's word and by its account's."""
        return campaign.settings.caps + self._payers[campaign.account_id][0].caps

    def _schedule(self, campaign: Campaign) -> Schedule:
        return schedule_of(campaign.settings, self._payers[campaign.account_id][0].timezone)

    def _home(self, campaign: Campaign) -> ZoneInfo:
        return zone_of(campaign.settings.timezone or self._payers[campaign.account_id][0].timezone)

    def _hours_of(self, schedule: Schedule) -> Hours:
        hours = self._hours.get(schedule)
        if hours is None:
            if len(self._hours) > _REMEMBERED:
                self._hours.clear()
            hours = self._hours[schedule] = Hours(schedule)
        return hours

    def pace(self, campaign: Campaign) -> Pacer | None:
        """The campaign's own limit of placements a second."""
        return self._paces.get(campaign.campaign_id)

    def country_of(self, account_id: int) -> str | None:
        """Where the account is at home, as far as it is known."""
        payer = self._payers.get(account_id)
        return None if payer is None else next(iter(payer[0].countries), None)

    async def payer(self, account_id: int) -> tuple[Account, Tariff]:
        """Who pays for a call, and what."""
        if account_id not in self._payers:
            self._payers[account_id] = await self._read_payer(account_id)
        return self._payers[account_id]

    async def _read_payer(self, account_id: int) -> tuple[Account, Tariff]:
        account = await accounts.get(self._db, account_id)
        return account, await accounts.tariff_of(self._db, account)

    def _pace(self, campaign: Campaign) -> Pacer:
        wanted = float(campaign.settings.calls_per_second)
        known = self._paces.get(campaign.campaign_id)
        if known is None or known.per_second != wanted:
            return Pacer(per_second=wanted, slot=known.slot if known else float("-inf"))
        return known
