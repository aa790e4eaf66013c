"""By which number does the narrow table know a text? Codes of an account's dictionary, found once and remembered."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from datetime import date
from hashlib import blake2b
from typing import Any

import psycopg
from msgspec import Struct

from zvonar.reports.columns import WORDS
from zvonar.store.db import Database, StoreUnavailable, rows

# Codes of texts that there are, and that a month as late has said: nothing has to be written for those.
KNOWN = """
SELECT w.account_id, w.field, w.digest, w.word_id
FROM unnest(%(accounts)s::bigint[], %(fields)s::smallint[], %(digests)s::bytea[], %(seen)s::date[])
    AS s (account_id, field, digest, seen)
JOIN report_words w ON w.account_id = s.account_id AND w.field = s.field AND w.digest = s.digest AND w.seen >= s.seen
"""

# Codes of these texts, made where there were none. `seen` grows with the months that use a text.
CODES = """
INSERT INTO report_words AS w (account_id, field, digest, word, seen)
SELECT account_id, field, digest, word, seen
FROM unnest(%(accounts)s::bigint[], %(fields)s::smallint[], %(digests)s::bytea[], %(words)s::text[], %(seen)s::date[])
    AS s (account_id, field, digest, word, seen) ORDER BY account_id, field, digest
ON CONFLICT (account_id, field, digest) DO UPDATE SET seen = greatest(w.seen, excluded.seen)
RETURNING account_id, field, digest, word_id
"""

Word = tuple[int, str, str]  # account, field, text
_Said = tuple[int, str, str, date]  # and the month that says it


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
        self._codes: OrderedDict[_Said, int] = OrderedDict()
        self._alone = asyncio.Lock()

    async def codes(self, said: Iterable[_Said]) -> dict[Word, int]:
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

    async def _made(self, missing: list[_Said]) -> dict[_Said, int]:
        latest: dict[Word, date] = {}
        for account, field, word, month in missing:
            latest[account, field, word] = max(month, latest.get((account, field, word), month))
        said = {
            (account, WORDS[field], digest(word)): (word, seen)
            for (account, field, word), seen in latest.items()
        }
        async with self._alone:
            try:
                # Not one of the pool: all of those may be held by writers who wait for this.
                async with await self._db.connect() as connection:
                    found = await rows(connection, _Code, KNOWN, _asked(said))
                    codes = {(one.account_id, one.field, one.digest): one.word_id for one in found}
                    new = {key: one for key, one in said.items() if key not in codes}
                    made = await rows(connection, _Code, CODES, _asked(new)) if new else []
            except psycopg.OperationalError as exc:
                raise StoreUnavailable(f"({type(exc).__name__})") from None
        codes |= {(one.account_id, one.field, one.digest): one.word_id for one in made}
        return {one: codes[one[0], WORDS[one[1]], digest(one[2])] for one in missing}


def _asked(said: Mapping[tuple[int, int, bytes], tuple[str, date]]) -> dict[str, list[Any]]:
    return {
        "accounts": [account for account, _, _ in said],
        "fields": [field for _, field, _ in said],
        "digests": [held for _, _, held in said],
        "words": [word for word, _ in said.values()],
        "seen": [seen for _, seen in said.values()],
    }
