"""Does a campaign go on though too much of it fails? Whoever set a breaker is told which calls it was."""

from collections.abc import Callable
from datetime import datetime

import msgspec
import structlog

from zvonar.core.campaign import Reason
from zvonar.core.health import Health
from zvonar.core.result import Outcome
from zvonar.store import steering
from zvonar.store.campaigns import Campaign, NotAllowedNow
from zvonar.store.db import Database

log = structlog.get_logger(__name__)


class Watch:
    """What this dialer has seen of campaigns that have a breaker."""

    def __init__(self, db: Database, *, now: Callable[[], datetime]) -> None:
        self._db = db
        self._now = now
        self._healths: dict[int, Health] = {}
        self._tripped: dict[int, datetime] = {}  # when the campaign that was stopped had last been changed

    async def heard(self, campaign: Campaign, call_id: int, outcome: Outcome) -> None:
        """An attempt has ended and is recorded. Where that was too much, its campaign is paused when this returns."""
        breaker = campaign.settings.breaker
        # What was under way when it was stopped is no reason to stop it again, once it goes on.
        if breaker is None or self._tripped.get(campaign.campaign_id) == campaign.updated_at:
            return
        health = self._healths.setdefault(campaign.campaign_id, Health())
        trip = health.heard(breaker, call_id, outcome, at=self._now())
        if trip is None:
            return
        del self._healths[campaign.campaign_id]
        self._tripped[campaign.campaign_id] = campaign.updated_at
        log.warning(
            "campaign.broken", campaign=campaign.campaign_id, failed=trip.failed, of=trip.of, calls=trip.calls
        )
        try:
            await self._db.patiently(
                lambda: steering.pause(
                    self._db,
                    campaign.account_id,
                    campaign.campaign_id,
                    reason=Reason.breaker,
                    details=msgspec.to_builtins(trip),
                    now=self._now(),
                ),
                what="breaker",
            )
        except NotAllowedNow:
            log.info("campaign.stopped_already", campaign=campaign.campaign_id)
