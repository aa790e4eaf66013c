"""Which recordings are not written down yet, and what was said on those that are?"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
from msgspec import Struct
from psycopg.types.json import Jsonb

from zvonar.store.db import Database

TRIES: Final = 3  # of one recording
PATIENCE: Final = timedelta(minutes=15)  # after which whoever claimed one is taken for dead
LOOK_BACK: Final = timedelta(days=1)  # a recording that is older is left alone


class Said(Struct, frozen=True, kw_only=True):
    """A stretch of speech."""

    channel: int  # 0 the robot, 1 the subscriber
    start: float  # seconds from the beginning of the recording
    end: float
    text: str


class Recorded(Struct, frozen=True, kw_only=True):
    """An attempt whose recording has no transcript."""

    account_id: int
    call_id: int
    attempt: int
    recording: str  # file name of the mixed one
    language: str  # in which its campaign speaks


# One that nobody is at becomes ours; one whose worker died is tried again, a few times.
CLAIM = """
WITH fresh AS (
    SELECT t.account_id, t.call_id, t.attempt FROM attempts t
    WHERE t.recording IS NOT NULL AND t.ended_at IS NOT NULL AND t.started_at >= %(since)s
      AND NOT EXISTS (SELECT FROM transcripts x WHERE x.account_id = t.account_id AND x.call_id = t.call_id
                      AND x.attempt = t.attempt)
    ORDER BY t.started_at LIMIT 1
), stale AS (
    SELECT account_id, call_id, attempt FROM transcripts
    WHERE done_at IS NULL AND claimed_at < %(before)s AND tries < %(tries)s
    ORDER BY claimed_at LIMIT 1 FOR UPDATE SKIP LOCKED
), claimed AS (
    INSERT INTO transcripts AS x (account_id, call_id, attempt, claimed_at)
    SELECT account_id, call_id, attempt, %(now)s FROM (SELECT * FROM stale UNION ALL SELECT * FROM fresh) f LIMIT 1
    ON CONFLICT (account_id, call_id, attempt) DO UPDATE SET claimed_at = %(now)s, tries = x.tries + 1
        WHERE x.done_at IS NULL AND x.claimed_at < %(before)s
    RETURNING account_id, call_id, attempt
)
SELECT t.account_id, t.call_id, t.attempt, t.recording,
    coalesce(c.overrides->'voice'->>'language', k.settings->'voice'->>'language', 'ru') AS language
FROM claimed JOIN attempts t USING (account_id, call_id, attempt)
JOIN calls c USING (account_id, call_id)
JOIN campaigns k ON k.account_id = c.account_id AND k.campaign_id = c.campaign_id
"""

DONE = """
UPDATE transcripts SET segments = %(segments)s, done_at = %(now)s, error = NULL
WHERE account_id = %(account_id)s AND call_id = %(call_id)s AND attempt = %(attempt)s
"""

FAILED = """
UPDATE transcripts SET error = %(error)s
WHERE account_id = %(account_id)s AND call_id = %(call_id)s AND attempt = %(attempt)s AND done_at IS NULL
"""


async def claim(db: Database, *, now: datetime) -> Recorded | None:
    """The next recording to be written down, ours for `PATIENCE`; None where there is none."""
    params = {"since": now - LOOK_BACK, "before": now - PATIENCE, "tries": TRIES, "now": now}
    return await db.row(Recorded, CLAIM, params)


async def done(db: Database, recorded: Recorded, said: Sequence[Said], *, now: datetime) -> None:
    """Keep what was said, by its start."""
    ordered = sorted(said, key=lambda one: (one.start, one.end, one.channel))
    segments = Jsonb(msgspec.to_builtins(ordered))
    await db.execute(DONE, {**_key(recorded), "segments": segments, "now": now})


async def failed(db: Database, recorded: Recorded, error: str) -> None:
    """It could not be written down; it is tried again once the claim has run out."""
    await db.execute(FAILED, {**_key(recorded), "error": error})


def _key(recorded: Recorded) -> dict[str, int]:
    return {
        "account_id": recorded.account_id,
        "call_id": recorded.call_id,
        "attempt": recorded.attempt,
    }
