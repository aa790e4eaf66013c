"""Who calls us, on which number? Numbers as they come over a trunk, and the event that a call becomes."""

from collections.abc import Collection, Iterator
from datetime import datetime

from msgspec import Struct

from zvonar.core import phone as phones
from zvonar.core.campaign import Voice
from zvonar.core.errors import DestinationRefused, PhoneInvalid
from zvonar.core.prompt import Prompt
from zvonar.core.result import Disposition, ScriptResult


class Greeting(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What callers of one of our numbers hear before we hang up."""

    prompt: Prompt
    voice: Voice = Voice()

    def checked(self) -> "Greeting":
        """Self, or SettingsInvalid."""
        self.prompt.checked("a greeting")
        self.voice.checked()
        return self


class Received(Struct, frozen=True, kw_only=True):
    """A call that came in and belongs to no campaign: the payload of an outbox event `inbound`, once it has ended.

    The last three say which attempt had shown the caller this number last, where one had: he has called it back.
    """

    account_id: int
    phone: str | None  # E.164 of the caller; None where he shows none that is a number
    own_phone: str  # E.164, the number that he called
    began_at: datetime
    answered_at: datetime | None
    ended_at: datetime
    disposition: Disposition
    script_result: ScriptResult
    campaign_id: int | None = None
    call_id: int | None = None
    attempt: int | None = None
    session_id: int | None = None


def forms(written: str, countries: Collection[str], *, trial: bool) -> list[str]:
    """Every E.164 number that somebody may mean by this, in any of these countries; empty where it is none.

    One carrier writes +7916…, another 8916…, 7916… or 916…: all of them are one number.
    """
    return list(dict.fromkeys(_forms(written, countries, trial)))


def _forms(written: str, countries: Collection[str], trial: bool) -> Iterator[str]:
    for country in countries:
        try:
            yield phones.parse(written, country=country, trial=trial).e164
        except (PhoneInvalid, DestinationRefused):
            continue
