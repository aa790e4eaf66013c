"""How often may a Callo client ask, and how often be told to call one number?"""

from datetime import datetime

from zvonar.dialects.callo.errors import CalledTooOften, TooManyRequests
from zvonar.store import limits
from zvonar.store.db import Database

PER_KEY = limits.Rule(scope="callo.key", count=20, seconds=1)  # the reference: 20 requests a second
PER_PHONE = limits.Rule(scope="callo.phone", count=5, seconds=30)  # the reference's sample: 5/30sec

MAX_BODY = 1_000_000  # bytes of a form
MAX_LIST = 101_000_000  # bytes of a form with a list of numbers
MAX_PASTED = 20_000_000  # bytes of one that comes urlencoded: a million numbers
MAX_FIELDS = 1000
MAX_IDS = 200  # of call_ids; a guess, the reference names no number


async def check_key(db: Database, account_id: int, *, now: datetime) -> None:
    """Raise TooManyRequests where this account asks too often."""
    if not await limits.take(db, PER_KEY, limits.key_hash(account_id), now=now):
        raise TooManyRequests


async def check_phone(db: Database, account_id: int, campaign_id: int, phone: str, *, now: datetime) -> None:
    """Raise CalledTooOften where this campaign was given the number too often."""
    key = limits.key_hash(account_id, campaign_id, phone)
    if not await limits.take(db, PER_PHONE, key, now=now):
        raise CalledTooOften(campaign_id, phone, count=PER_PHONE.count, seconds=PER_PHONE.seconds)
