"""By which number does the narrow table know a text? Codes of an account's dictionary, found once and remembered."""

from collections import OrderedDict
from collections.abc import Collection, Iterable
from datetime import date
from hashlib import blake2b

from msgspec import Struct

from zvonar.reports.columns import WORDS
from zvonar.store.db import Connection, rows

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
    """Codes of texts; those that were asked for lately need no statement."""

    def __init__(self, *, remembered: int = 50_000) -> None:
        self._room = remembered
        self._codes: OrderedDict[tuple[int, str, str, date], int] = OrderedDict()

    async def codes(
        self, connection: Connection, said: Iterable[tuple[int, str, str, date]]
    ) -> dict[Word, int]:
        """The code of each text of a field, by account and the month that says it.

        Inside the transaction of the rows that say them; what it has made is remembered once `kept` is called.
        """
        wanted = set(said)
        known = {one: self._codes[one] for one in wanted if one in self._codes}
        missing = sorted(wanted - known.keys(), key=lambda one: (one[0], WORDS[one[1]], digest(one[2])))
        found = {(account, field, word): code for (account, field, word, _), code in known.items()}
        if not missing:
            return found
        made = await rows(
            connection,
            _Code,
            CODES,
            {
                "accounts": [one[0] for one in missing],
                "fields": [WORDS[one[1]] for one in missing],
                "digests": [digest(one[2]) for one in missing],
                "words": [one[2] for one in missing],
                "seen": [one[3] for one in missing],
            },
        )
        by_digest = {(code.account_id, code.field, code.digest): code.word_id for code in made}
        for account, field, word, _ in missing:
            found[account, field, word] = by_digest[account, WORDS[field], digest(word)]
        return found

    def keep(self, said: Collection[tuple[int, str, str, date]], codes: dict[Word, int]) -> None:
        """Remember codes that are committed."""
        for one in said:
            self._codes[one] = codes[one[0], one[1], one[2]]
            self._codes.move_to_end(one)
        while len(self._codes) > self._room:
            self._codes.popitem(last=False)
