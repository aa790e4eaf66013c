"""What does an account ask about itself? Forms about its campaigns and its money."""

from datetime import datetime
from zoneinfo import ZoneInfo

from msgspec import Struct

from zvonar.dialects.callo.requests.form import Form

MODES = ("all", "archive", "active")


class StatisticsForm(Struct, frozen=True, kw_only=True):
    """`phones/camp_stats/`: calls of a campaign that were created in a range."""

    campaign_id: int
    created_from: datetime
    created_till: datetime  # exclusive


def statistics_form(form: Form, zone: ZoneInfo) -> StatisticsForm:
    """What is to be counted, or FormInvalid. `zone`: where dates without an offset are meant."""
    campaign_id = form.number("campaign_id", required=True)
    created_from = form.moment("from_date", zone, required=True)
    created_till = form.moment("to_date", zone, till=True, required=True)
    form.check()
    assert campaign_id is not None
    assert created_from is not None
    assert created_till is not None
    return StatisticsForm(campaign_id=campaign_id, created_from=created_from, created_till=created_till)


def campaign_form(form: Form) -> int:
    """`phones/cost/`: the campaign, or FormInvalid."""
    campaign_id = form.number("campaign_id", required=True)
    form.check()
    assert campaign_id is not None
    return campaign_id


def mode_form(form: Form) -> str:
    """`campaigns/`: which of them, or FormInvalid."""
    mode = form.choice("mode", MODES)
    form.check()
    return mode or "all"
