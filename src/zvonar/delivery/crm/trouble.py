"""What keeps a whole CRM from taking anything, and how long is it then left alone?"""

from datetime import datetime
from enum import StrEnum
from typing import Final

from zvonar.delivery.backoff import asked_pause
from zvonar.delivery.crm.wire import Reply


class Trouble(StrEnum):
    """What a CRM objects to, whatever it is asked."""

    throttled = "throttled"  # 429: too many requests
    forbidden = "forbidden"  # 403: it has closed itself to us, often after too many 429
    payment = "payment"  # 402: its account is not paid for
    rights = "rights"  # code 244: the user whose key this is may not do that
    unauthorised = "unauthorised"  # 401: the key is not taken
    away = "away"  # no answer, or 5xx
    strange = "strange"  # an answer that no CRM gives


# Seconds after the first time and at most; it doubles from one time in a row to the next.
_PAUSES: Final = {
    Trouble.throttled: (1.0, 60.0),
    Trouble.forbidden: (600.0, 21_600.0),
    Trouble.payment: (600.0, 21_600.0),
    Trouble.rights: (600.0, 21_600.0),
    Trouble.unauthorised: (0.0, 0.0),
    Trouble.away: (5.0, 300.0),
    Trouble.strange: (60.0, 3600.0),
}
# A person can do something about these, and hears of them by letter.
TOLD: Final = frozenset({Trouble.forbidden, Trouble.payment, Trouble.rights, Trouble.strange})
_RIGHTS: Final = "244"


class CrmTrouble(Exception):
    """Nothing can be asked of this CRM now."""

    def __init__(self, trouble: Trouble, reply: Reply | None = None) -> None:
        super().__init__(str(trouble))
        self.trouble = trouble
        self.status = reply.status if reply is not None else None
        self.head = reply.head if reply is not None else b""
        self.retry_after = reply.retry_after if reply is not None else None
        self.reason = reply.reason if reply is not None else None


def pause(exc: CrmTrouble, troubles: int, *, scale: float, now: datetime) -> float:
    """Seconds to leave the CRM alone at its so-many-th trouble in a row; never less than it asked for."""
    first, most = _PAUSES[exc.trouble]
    asked = asked_pause(exc.retry_after, now=now) or 0.0
    return max(min(first * 2.0 ** min(troubles - 1, 20), most) * scale, asked)


def objection(reply: Reply) -> CrmTrouble | None:
    """The trouble that this answer is, whatever was asked; None where it is an answer to what was asked."""
    match reply.status:
        case None:
            return CrmTrouble(Trouble.away, reply)
        case 429:
            return CrmTrouble(Trouble.throttled, reply)
        case 401:
            return CrmTrouble(Trouble.unauthorised, reply)
        case 402:
            return CrmTrouble(Trouble.payment, reply)
        case 403:
            return CrmTrouble(Trouble.forbidden, reply)
        case 400 if _no_rights(reply):
            return CrmTrouble(Trouble.rights, reply)
        case status if status >= 500:
            return CrmTrouble(Trouble.away, reply)
        case status if 300 <= status < 400:
            return CrmTrouble(Trouble.strange, reply)
        case _:
            return None


def _no_rights(reply: Reply) -> bool:
    detail = reply.under("detail")
    return isinstance(detail, str) and _RIGHTS in detail and reply.under("validation-errors") is None
