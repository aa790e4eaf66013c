"""What does every request begin with? Its form, whose key it brings, and which campaign it means."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from litestar import Request
from msgspec import Struct

from zvonar.core import phone as phones
from zvonar.core.errors import CampaignNotFound, DestinationRefused, PhoneInvalid, Unauthorised
from zvonar.core.schedule import zone_of
from zvonar.dialects import links
from zvonar.dialects.callo import errors, limits
from zvonar.dialects.callo.errors import CampaignMissing, FormInvalid, Language
from zvonar.dialects.callo.media import Media
from zvonar.dialects.callo.requests.fields import fields_of
from zvonar.dialects.callo.requests.form import Form, public_key
from zvonar.store import accounts, campaigns, trunks
from zvonar.store.accounts import Account
from zvonar.store.campaigns import Campaign
from zvonar.store.db import Database

KEY_KIND = "callo_public_key"  # of the keys table

BIGINT = range(-(2**63), 2**63)
_CACHED = timedelta(seconds=1)

Req = Request[Any, Any, Any]


class Service(Struct, frozen=True, kw_only=True):
    """What this dialect needs of the house."""

    db: Database
    now: Callable[[], datetime]  # aware
    media: Media
    public_url: str | None = None  # prefixes every link; the request's own host unless given


async def opened(request: Req) -> tuple[Language, Form]:
    """The language to answer in, and the form to be cleaned; FormInvalid if it is unreadable."""
    return errors.language_of(request.headers.get("accept-language")), Form(await fields_of(request))


async def account_of(service: Service, form: Form, *, now: datetime) -> Account | None:
    """Whose key this is; None without one, which the form then says with everything else that is wrong."""
    key = public_key(form)
    if key is None:
        return None
    try:
        return await limits.use_key(service.db, accounts.hash_key(key), kind=KEY_KIND, now=now)
    except Unauthorised:
        raise FormInvalid({"public_key": errors.UNKNOWN_KEY}) from None


def zone_for(account: Account | None) -> ZoneInfo:
    """Where dates without an offset are meant."""
    return zone_of("UTC" if account is None else account.timezone)


def base_url(service: Service, request: Req) -> str:
    """What every link begins with, without a slash at its end."""
    return links.base_url(request, service.public_url)


def known_number(written: str, account: Account) -> str | None:
    """The E.164 number that somebody asks about; None where it is no number, so that no call was ever made to it."""
    try:
        return phones.parse(written, country=next(iter(account.countries), ""), trial=True).e164
    except (PhoneInvalid, DestinationRefused):
        return None


async def campaign_of(db: Database, account: Account, campaign_id: int) -> Campaign:
    if campaign_id not in BIGINT:
        raise CampaignMissing(campaign_id)
    try:
        return await campaigns.get(db, account.account_id, campaign_id)
    except CampaignNotFound:
        raise CampaignMissing(campaign_id) from None


class TrialNetwork:
    """Whether town numbers count as numbers, asked at most once a second."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._connected = False
        self._asked_at: datetime | None = None

    async def connected(self) -> bool:
        now = self._service.now()
        if self._asked_at is None or not timedelta(0) <= now - self._asked_at < _CACHED:
            self._connected = await trunks.has_trial(self._service.db)
            self._asked_at = now
        return self._connected
