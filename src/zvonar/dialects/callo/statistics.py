"""How are a campaign's calls counted? By dial status and by call status, each list adding up to the same."""

from collections.abc import Sequence
from typing import Any

from zvonar.dialects.callo import ours
from zvonar.dialects.callo.outcomes import CallStatus, DialStatus
from zvonar.dialects.callo.rows import outcome
from zvonar.dialects.callo.words import Language
from zvonar.store.results import Counted


def statistics(counted: Sequence[Counted], *, language: Language) -> dict[str, Any]:
    """The answer of `camp_stats/`: how many calls have each dial status, and how many each call status."""
    total = sum(count.n for count in counted)
    dialled: dict[int, int] = {}
    statuses: dict[str, int] = {}
    names: dict[str, str] = {}
    for count in counted:
        came_to, dial = outcome(
            count.disposition, count.script_result, count.call_end, count.state, count.cause
        )
        # A call on the line waits for its dial status, so that both lists add up to the same.
        dial = dial if dial is not None else DialStatus.waiting
        dialled[dial] = dialled.get(dial, 0) + count.n
        key, name = str(came_to), came_to.display(language)
        if came_to is CallStatus.user and count.choice is not None:
            key, name = count.choice, count.status_name or _button_name(count.choice, language)
        statuses[key] = statuses.get(key, 0) + count.n
        names.setdefault(key, name)
    return {
        "status": "ok",
        "data": {
            "dial_statuses": [
                *(
                    {
                        "status": status,
                        "name": DialStatus(status).display(language),
                        "count": n,
                        "percent": _percent(n, total),
                    }
                    for status, n in sorted(dialled.items())
                ),
                _total(total, language),
            ],
            "call_statuses": [
                *(
                    {"status": key, "count": n, "name": names[key], "percent": _percent(n, total)}
                    for key, n in sorted(statuses.items())
                ),
                _total(total, language),
            ],
        },
    }


def _total(total: int, language: Language) -> dict[str, Any]:
    return {
        "status": "all",
        "count": total,
        "name": ours.TOTAL.said(language),
        "percent": _percent(total, total),
    }


def _percent(n: int, total: int) -> float | int:
    percent = round(n * 100 / total, 2) if total else 0
    return int(percent) if percent == int(percent) else percent


def _button_name(choice: str, language: Language) -> str:
    digits = ours.DIGITS.said(language).split()
    return digits[int(choice)] if choice.isdecimal() and len(choice) == 1 else choice
