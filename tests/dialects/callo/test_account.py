"""Does an account read right sums, counts and campaigns?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from zvonar.core.campaign import CampaignType
from zvonar.core.result import Disposition, Outcome, ScriptResult
from zvonar.dialects.callo.routes import PREFIXES

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

BUSY = Outcome(disposition=Disposition.busy)


def answered(script_result: ScriptResult, choice: str | None = None, *, seconds: int = 10) -> Outcome:
    return Outcome(
        disposition=Disposition.answered,
        script_result=script_result,
        talk_seconds=seconds,
        choice=choice,
    )


def get(house: House, tenant: Tenant, path: str, **fields: Any) -> httpx.Response:
    return house.send("GET", f"{PREFIXES[0]}/{path}/", params={"public_key": tenant.callo, **fields})


def add(house: House, tenant: Tenant, campaign_id: int) -> None:
    form = {"public_key": tenant.callo, "phone": "+70001230001", "campaign_id": campaign_id}
    assert house.send("POST", f"{PREFIXES[0]}/phones/call/", data=form, pause=10).is_success


def test_a_balance_is_a_text_of_six_decimals(
    house: House, tenant: Tenant, golden: Callable[[str], Any]
) -> None:
    assert list(golden("balance.json")) == ["balance"]
    assert get(house, tenant, "users/balance").json() == {"balance": "1000.000000"}
    campaign_id = house.campaign(tenant)
    add(house, tenant, campaign_id)
    house.dial(tenant, campaign_id, answered(ScriptResult.completed))
    assert get(house, tenant, "users/balance").json() == {"balance": "999.700000"}


@pytest.mark.usefixtures("travelling")
def test_a_campaigns_cost_is_that_of_its_attempts_ever_and_today(
    house: House, tenant: Tenant, golden: Callable[[str], Any]
) -> None:
    campaign_id = house.campaign(tenant)
    add(house, tenant, campaign_id)
    # 23:59:30 in Moscow: the attempt ends on the next day, to which it then belongs.
    house.clock = (house.clock + timedelta(days=1)).replace(hour=20, minute=59, second=30)
    house.dial(tenant, campaign_id, answered(ScriptResult.completed, seconds=60))
    add(house, tenant, campaign_id)
    house.dial(tenant, campaign_id, answered(ScriptResult.completed, seconds=5))
    cost = get(house, tenant, "phones/cost", campaign_id=campaign_id).json()
    sample = golden("cost.json")
    assert list(cost) == list(sample)
    assert {k: type(v) for k, v in cost.items()} == {k: type(v) for k, v in sample.items()}
    assert (cost["campaign_id"], cost["currency"]) == (campaign_id, "RUB")
    assert (cost["forever_cost"], cost["daily_cost"]) == ("1.95", "1.95")
    house.clock += timedelta(days=1)
    add(house, tenant, campaign_id)
    house.dial(tenant, campaign_id, answered(ScriptResult.completed, seconds=1))
    cost = get(house, tenant, "phones/cost", campaign_id=campaign_id).json()
    assert (cost["forever_cost"], cost["daily_cost"]) == ("1.98", "0.03")
    other = get(house, tenant, "phones/cost", campaign_id=house.campaign(tenant)).json()
    assert (other["forever_cost"], other["daily_cost"]) == ("0.00", "0.00")


def test_the_statistics_are_the_samples(house: House, tenant: Tenant, golden: Callable[[str], Any]) -> None:
    campaign_id = house.campaign(tenant)
    # As in the sample: one busy, three that pressed 1, three that heard it out. Its last one acted without a press,
    # which the next part brings; here it heard it out as well.
    outcomes = [
        BUSY,
        *[answered(ScriptResult.choice, "1")] * 3,
        *[answered(ScriptResult.completed)] * 4,
    ]
    for outcome in outcomes:
        add(house, tenant, campaign_id)
        house.dial(tenant, campaign_id, outcome)
    sample = golden("camp_stats.json")
    stats = get(
        house,
        tenant,
        "phones/camp_stats",
        campaign_id=campaign_id,
        from_date="2026-11-01 00:00:00",
        to_date="2099-01-01 00:00:00",
    ).json()
    assert stats["data"]["call_statuses"] == sample["data"]["call_statuses"]
    assert [list(row) for row in stats["data"]["dial_statuses"]] == [
        list(row) for row in sample["data"]["dial_statuses"] if row["status"] != 16
    ]
    assert [(row["status"], row["count"], row["percent"]) for row in stats["data"]["dial_statuses"]] == [
        (4, 1, 12.5),
        (5, 3, 37.5),
        (10, 4, 50),
        ("all", 8, 100),
    ]
    assert list(stats) == list(sample)
    assert list(stats["data"]) == list(sample["data"])


@pytest.mark.usefixtures("travelling")
def test_statistics_count_calls_of_the_range_and_not_attempts(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant, attempts=3)
    add(house, tenant, campaign_id)
    first = house.clock + timedelta(hours=3)
    house.dial(tenant, campaign_id, BUSY, attempts=3)
    house.dial(tenant, campaign_id, BUSY, attempts=3, history=(BUSY,))
    house.clock += timedelta(days=1)
    add(house, tenant, campaign_id)
    house.run(
        house.db.execute(
            "UPDATE calls SET state = 'dialing' WHERE campaign_id = %s AND ordinal = 2", [campaign_id]
        )
    )

    def total(start: datetime, end: datetime) -> list[Any]:
        data = get(
            house,
            tenant,
            "phones/camp_stats",
            campaign_id=campaign_id,
            from_date=f"{start:%Y-%m-%d %H:%M:%S}",
            to_date=f"{end:%Y-%m-%d}",
        ).json()["data"]
        assert data["dial_statuses"][-1]["count"] == data["call_statuses"][-1]["count"]
        return [(row["status"], row["count"]) for part in data.values() for row in part]

    assert total(first, first) == [(4, 1), ("all", 1), ("in_process", 1), ("all", 1)]
    both = [(0, 1), (4, 1), ("all", 2), ("in_process", 2), ("all", 2)]
    assert total(first, first + timedelta(days=1)) == both
    assert total(first + timedelta(seconds=1), first) == [("all", 0), ("all", 0)]
    house.run(
        house.db.execute(
            "UPDATE calls SET state = 'queued' WHERE campaign_id = %s AND state = 'dialing'", [campaign_id]
        )
    )


def test_a_pressed_button_has_the_name_that_its_campaign_gives_it(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant)
    for choice, name in (("1", "Да"), ("2", None), ("да", None)):
        add(house, tenant, campaign_id)
        house.dial(tenant, campaign_id, answered(ScriptResult.choice, choice), status_name=name)

    def names(language: str) -> list[tuple[str, str]]:
        path = f"{PREFIXES[1]}/phones/camp_stats/"
        asked = {"campaign_id": campaign_id, "from_date": "2026-01-01", "to_date": "2099-01-01"}
        rows = house.send(
            "POST",
            path,
            data={"public_key": tenant.callo, **asked},
            headers={"accept-language": language},
        ).json()["data"]["call_statuses"]
        return [(row["status"], row["name"]) for row in rows]

    assert names("en") == [("1", "Да"), ("2", "Two"), ("да", "да"), ("all", "Total")]
    assert names("ru")[1:] == [("2", "Два"), ("да", "да"), ("all", "Всего")]
    assert names("uk")[1:] == [("2", "Два"), ("да", "да"), ("all", "Усього")]


@pytest.mark.parametrize(
    ("fields", "errors"),
    [
        (
            {},
            "\n".join(
                f"* {name}\n  * This field is required." for name in ("campaign_id", "from_date", "to_date")
            ),
        ),
        ({"campaign_id": "1", "from_date": "2020-01-01"}, "* to_date\n  * This field is required."),
        (
            {"campaign_id": "1", "from_date": "1.1.2020", "to_date": "2020-01-01"},
            "* from_date\n  * Enter a valid date/time.",
        ),
    ],
)
def test_statistics_need_a_campaign_and_both_dates(
    house: House, tenant: Tenant, fields: dict[str, str], errors: str
) -> None:
    answer = get(house, tenant, "phones/camp_stats", **fields)
    assert answer.status_code == 400
    assert answer.json()["data"] == f"Form isn't valid: {errors}"


def test_campaigns_are_listed_by_mode(house: House) -> None:
    tenant = house.tenant()
    running = house.campaign(tenant)
    over = house.campaign(tenant, type=CampaignType.tellcode)
    house.run(house.db.execute("UPDATE campaigns SET status = 'completed' WHERE campaign_id = %s", [over]))

    def ids(**mode: str) -> list[int]:
        return [row["id"] for row in get(house, tenant, "campaigns", **mode).json()]

    assert ids() == ids(mode="all") == [over, running]
    assert ids(mode="active") == [running]
    assert ids(mode="archive") == [over]
    row = get(house, tenant, "campaigns", mode="archive").json()[0]
    assert (row["name"], row["campaign_type"], row["status"]) == ("Опрос", "tellcode", "completed")
    wrong = get(house, tenant, "campaigns", mode="<old>").json()["data"]
    assert wrong == (
        "Form isn't valid: * mode\n  * Select a valid choice. &lt;old&gt; is not one of the available choices."
    )


def test_a_numbers_home_is_told_without_a_key(house: House, golden: Callable[[str], Any]) -> None:
    def home(phone: str, language: str = "ru") -> dict[str, Any]:
        path = f"{PREFIXES[0]}/def_codes/by_phone/?phone={phone}"
        answer = house.send("GET", path, headers={"accept-language": language})
        assert answer.status_code == 200, answer.text
        assert list(answer.json()) == list(golden("def_codes.json"))
        data: dict[str, Any] = answer.json()["data"]
        assert list(data) == list(golden("def_codes.json")["data"])
        return data

    mobile = home("+79683512345")
    assert (mobile["first_code"], mobile["phone_type"]) == ("968", "def")
    assert mobile["operator"] == "Билайн"
    assert home("89683512345", "en")["operator"] == "Beeline"
    fixed = home("+74951234567")
    assert (fixed["first_code"], fixed["phone_type"]) == ("495", "abc")
    assert (fixed["timezone"], fixed["GMT"]) == ("Europe/Moscow", "+03:00")
    assert (fixed["region"], fixed["region_name"]) == ("77", "Москва")
    assert home("+73012212345")["region"] == "03"
    assert mobile["region"] is mobile["region_name"] is None
    assert home("+12025550123")["first_code"] is None
    wrong = house.send("GET", f"{PREFIXES[0]}/def_codes/by_phone/?phone=abc")
    assert wrong.status_code == 400
    assert wrong.json()["data"] == "Form isn't valid: * phone\n  * Enter a valid phone number."
