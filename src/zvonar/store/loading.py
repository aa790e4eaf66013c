"""How do many calls come into the table at once? Straight into it by COPY, with ids and ordinals taken beforehand."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import msgspec
from psycopg.errors import UniqueViolation

from zvonar.store.calls import LabelTaken, NewCall
from zvonar.store.db import Connection

# As many call ids as a batch needs, in one round.
CALL_IDS = "SELECT array_agg(new_call_id(%(now)s)) FROM generate_series(1, %(count)s)"

# The calls themselves. The triggers of the table count them in one step at the end.
COPY = """
COPY calls (account_id, call_id, campaign_id, ordinal, phone, country, trial, due_at, expires_at, label, extra,
            overrides, phone_list_id, created_at, updated_at) FROM STDIN
"""

# A batch is far from the limit of ordinary statements, unless the machine is busy.
PATIENCE = "SET LOCAL statement_timeout = '10min'"

_PIECE = 2000  # calls sent at once
# What COPY's text format writes otherwise. A NUL was refused before.
_ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_NULL = "\\N"


async def copy(
    connection: Connection,
    account_id: int,
    campaign_id: int,
    phone_list_id: int,
    new: Sequence[NewCall],
    *,
    first_ordinal: int,
    lifetime: int | None,
    now: datetime,
) -> None:
    """Add calls in the order given, the first of them at `first_ordinal` + 1. Raises LabelTaken."""
    if not new:
        return
    ids = await (await connection.execute(CALL_IDS, {"count": len(new), "now": now})).fetchone()
    assert ids is not None
    before = f"{account_id}\t"
    expires = _NULL if lifetime is None else (now + timedelta(seconds=lifetime)).isoformat()
    at = now.isoformat()
    after = f"\t{phone_list_id}\t{at}\t{at}\n"
    lines = _lines(ids[0], first_ordinal, new, before, f"\t{campaign_id}\t", f"\t{expires}\t", after, at)
    try:
        async with connection.cursor() as cursor, cursor.copy(COPY) as copying:
            for piece in lines:
                await copying.write(piece)
    except UniqueViolation as exc:
        if exc.diag.constraint_name != "calls_by_label":
            raise
        raise LabelTaken() from None


def _lines(
    ids: Sequence[int],
    first_ordinal: int,
    new: Sequence[NewCall],
    before: str,
    campaign: str,
    expires: str,
    after: str,
    now: str,
) -> Iterable[str]:
    lines: list[str] = []
    for ordinal, (call_id, call) in enumerate(zip(ids, new, strict=True), start=first_ordinal + 1):
        phone = call.phone
        due = now if call.due_at is None else call.due_at.isoformat()
        rest = (
            f"{_text(call.label)}\t{_text(call.extra)}\t"
            f"{_NULL if call.overrides is None else _text(msgspec.json.encode(call.overrides).decode())}"
            if call.label is not None or call.extra is not None or call.overrides is not None
            else "\\N\t\\N\t\\N"
        )
        trial = "t" if phone.trial else "f"
        lines.append(
            f"{before}{call_id}{campaign}{ordinal}\t{phone.e164}\t{phone.country}\t{trial}\t{due}{expires}{rest}{after}"
        )
        if len(lines) == _PIECE:
            yield "".join(lines)
            lines.clear()
    yield "".join(lines)


def _text(text: str | None) -> str:
    return _NULL if text is None else text.translate(_ESCAPED)
