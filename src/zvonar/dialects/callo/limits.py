"""How often may a Callo client ask, and how often be told to call one number?"""

from datetime import datetime

from zvonar.core.campaign import CallLimit
from zvonar.dialects.callo.errors import TooManyRequests
from zvonar.store import limits
from zvonar.store.db import Database

PER_KEY = limits.Rule(scope="callo.key", count=20, seconds=1)  # the reference: 20 requests a second

NUMBER_SCOPE = "callo.phone"  # of the rule for one number in one campaign

MAX_BODY = 1_000_000  # bytes of a form
MAX_LIST = 101_000_000  # bytes of a form with a list of numbers
MAX_PASTED = 20_000_000  # bytes of one that comes urlencoded: a million numbers
MAX_FIELDS = 1000
MAX_IDS = 200  # of call_ids, phones, labels: the reference's "maximum of 200 calls"
PAGE = 1000  # calls of all_calls


async def check_key(db: Database, key_hash: bytes, *, now: datetime) -> None:
    """Raise TooManyRequests where this key asks too often."""
    if not await limits.take(db, PER_KEY, key_hash, now=now):
        raise TooManyRequests


def per_number(limit: CallLimit) -> limits.Rule:
    """How often one number may be added to a campaign; by default the reference's 5/30sec."""
    return limits.Rule(scope=NUMBER_SCOPE, count=limit.count, seconds=limit.seconds)


def number_key(account_id: int, campaign_id: int, phone: str) -> bytes:
    """Whom that rule is about."""
    return limits.key_hash(account_id, campaign_id, phone)
