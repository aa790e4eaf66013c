"""By which number does the narrow table know a text? Codes of an account's dictionary, found once and remembered."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from datetime import date
from hashlib import blake2b

import psycopg
from msgspec import Struct

from zvonar.reports.columns import WORDS
from zvonar.store.db import Database, StoreUnavailable, rows

# Codes of these texts, made where there were none. `seen` grows with the months that use a text.
CODES = """
WITH said AS (
    SELECT DISTINCT ON (account_id, field, digest) account_id, field, digest, word, seen
    FROM unnest(%(accounts)s::bigint[], %(fields)s::smallint[], %(digests)s::bytea[], %(words)s::text[],
        %(seen)s::date[]) AS s (account_id, field, digest, word, seen)
    ORDER BY account_id, field, digest, seen DESC
)
INSERT INTO report_words AS w (account_id, field, digest, word, seen)
SELECT account_id, field, digest, word, seen FROM said ORDER BY account_id, field, digest
ON CONFLICT (account_id, field, digest) DO UPDATE SET seen = greatest(w.seen, excluded.seen)
RETURNING account_id, field, digest, word_id
"""

Word = tuple[int, str, str]  # account, field, text


class _Code(Struct, frozen=True, kw_only=True):
    account_id: int
    field: int
    digest: bytes
    word_id: int


def digest(word: str) -> bytes:
    """What a text is found by."""
    return blake2b(word.encode(), digest_size=16).digest()


class Words:
    """Codes of texts; those that were asked for lately need no statement.

    New texts are committed at once, over a connection of their own: whoever writes rows then never holds one that
    another waits for. A text that no row says in the end goes with its month.
    """

    def __init__(self, db: Database, *, remembered: int = 50_000) -> None:
        self._db = db
        self._room = remembered
        self._codes: OrderedDict[tuple[int, str, str, date], int] = OrderedDict()
        self._alone = asyncio.Lock()

    async def codes(self, said: Iterable[tuple[int, str, str, date]]) -> dict[Word, int]:
        """The code of each text of a field, by account and the month that says it. Raises StoreUnavailable."""
        wanted = set(said)
        known = {one: self._codes[one] for one in wanted if one in self._codes}
        missing = sorted(wanted - known.keys(), key=lambda one: (one[0], WORDS[one[1]], digest(one[2])))
        if missing:
            known.update(await self._made(missing))
        for one, code in known.items():
            self._codes[one] = code
            self._codes.move_to_end(one)
        while len(self._codes) > self._room:
            self._codes.popitem(last=False)
        return {(account, field, word): code for (account, field, word, _), code in known.items()}

    async def _made(self, missing: list[tuple[int, str, str, date]]) -> dict[tuple[int, str, str, date], int]:
        asked = {
            "accounts": [one[0] for one in missing],
            "fields": [WORDS[one[1]] for one in missing],
            "digests": [digest(one[2]) for one in missing],
            "words": [one[2] for one in missing],
            "seen": [one[3] for one in missing],
        }
        async with self._alone:
            try:
                # Not one of the pool: all of those may be held by writers who wait for this.
                async with await self._db.connect() as connection:
                    made = await rows(connection, _Code, CODES, asked)
            except psycopg.OperationalError as exc:
                raise StoreUnavailable(f"({type(exc).__name__})") from None
        by_digest = {(code.account_id, code.field, code.digest): code.word_id for code in made}
        return {one: by_digest[one[0], WORDS[one[1]], digest(one[2])] for one in missing}
