"""Do sessions say whose number it was, from which region, and by which scenario they were led?"""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from phonenumbers import geocoder
from phonenumbers import parse as parse_number
from phonenumbers.geodata import GEOCODE_DATA
from psycopg.types.json import Jsonb

from zvonar.reports import regions
from zvonar.reports.query import Compare, Op

from .test_filling import attempt, inbound

if TYPE_CHECKING:
    from tests.reports.conftest import World

REGION = ("cpn_region_id", "cpn_region_name", "cpn_country_id")
CONTACT = ("contact_id", "contact_full_name")


@pytest.fixture
def account(world: World) -> int:
    world.execute("ALTER TABLE calls DROP CONSTRAINT IF EXISTS calls_account_id_campaign_id_fkey")
    world.execute("ALTER TABLE attempts DROP CONSTRAINT IF EXISTS attempts_account_id_call_id_fkey")
    return world.account()


@pytest.mark.parametrize(
    ("phone", "expected"),
    [
        ("+74991234567", (77, "Москва")),
        ("+74951234567", (77, "Москва")),
        ("+74961234567", (50, "Московская область")),
        ("+78121234567", (78, "Санкт-Петербург")),
        ("+73432123456", (66, "Свердловская область")),
        ("+78342123456", (13, "Республика Мордовия")),
        ("+79161234567", (None, None)),  # mobile
        ("+77272123456", (None, None)),  # Kazakhstan
        ("+375171234567", (None, None)),
        ("+78002000600", (None, None)),
        ("+7499", (None, None)),
    ],
)
def test_a_session_has_the_region_of_its_contacts_area_code(
    world: World, account: int, phone: str, expected: tuple[int | None, str | None]
) -> None:
    session = inbound(world, account, 0, lost=False, contact=phone)
    world.fill()
    _, [row] = world.ask(account, REGION)
    assert (row["cpn_region_id"], row["cpn_region_name"]) == expected
    if expected[0] is not None:
        by_id = Compare(field="cpn_region_id", op=Op.eq, value=expected[0])
        by_name = Compare(field="cpn_region_name", op=Op.eq, value=expected[1])
        assert (
            world.ask(account, filter=by_id)[1] == world.ask(account, filter=by_name)[1] == [{"id": session}]
        )


def test_every_area_code_has_the_librarys_region() -> None:
    codes = [prefix for prefix in GEOCODE_DATA if prefix[:2] in ("73", "74", "78")]
    codes = [prefix for prefix in codes if prefix not in regions.CORRECTED]
    compared = set()
    for prefix, fill in product(codes, "123456"):
        number = f"{prefix:{fill}<11}"
        known = regions.region_of(number)
        assert known is not None, prefix
        said = geocoder.description_for_number(parse_number(f"+{number}"), "ru")
        if said not in ("", "Россия"):  # what the library takes for no number, or for none of a place
            assert regions._BY_NAME[said] == known, prefix
            compared.add(prefix)
    assert len(compared) > 0.9 * len(codes) > 80
    assert len({region.id for region in regions._BY_NAME.values()}) == len(regions._BY_NAME)


def test_the_librarys_texts_do_not_stay_in_memory() -> None:
    code = """import sys
from zvonar.reports import regions
assert regions.region_of("74991234567").id == 77
assert not [name for name in sys.modules if name.startswith("phonenumbers.geodata")]
from phonenumbers import geocoder, parse
print(geocoder.description_for_number(parse("+74991234567"), "ru"))"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "г. Москва"), done.stderr


def put_contact(world: World, account: int, name: str, phone: str) -> int:
    fields = [{"code": "PHONE", "values": [{"value": phone, "enum": "WORK"}]}]
    return int(
        world.value(
            """INSERT INTO crm_entities (account_id, kind, name, fields, responsible_user_id, created_by, updated_by,
                created_at, updated_at)
            VALUES (%(a)s, 'contact', %(name)s, %(fields)s, 0, 0, 0, now(), now()) RETURNING card_id""",
            {"a": account, "name": name, "fields": Jsonb(fields)},
        )
    )


def shown(world: World, account: int) -> dict[str, Any]:
    world.fill()
    _, [row] = world.ask(account, CONTACT)
    return row


def test_a_number_of_the_address_book_has_its_name(world: World, account: int) -> None:
    first = put_contact(world, account, "Анна Ахматова", "8 (900) 000-00-09")
    put_contact(world, account, "Позже", "+79000000009")
    other = world.account()
    put_contact(world, other, "Чужой", "+79000000010")
    session = inbound(world, account, 0, lost=False, contact="+79000000009")
    assert shown(world, account) == {"contact_id": first, "contact_full_name": "Анна Ахматова"}
    by_id = Compare(field="contact_id", op=Op.eq, value=first)
    assert world.ask(account, filter=by_id)[1] == [{"id": session}]
    third = world.account()
    inbound(world, third, 0, lost=False, contact="+79000000010")
    assert shown(world, third) == {"contact_id": None, "contact_full_name": None}


def test_what_was_told_of_a_session_goes_before_the_address_book(world: World, account: int) -> None:
    put_contact(world, account, "Анна", "+79000000009")
    world.ended(
        account,
        direction="in",
        start_time=world.now.isoformat(),
        disposition="no_answer",
        contact_phone="+79000000009",
        contact_full_name="Сама сказала",
        cpn_region_name="Сама сказала",
    )
    assert shown(world, account) == {"contact_id": None, "contact_full_name": "Сама сказала"}
    assert world.ask(account, REGION)[1][0]["cpn_region_id"] is None


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"name": "Иван", "fio": "Иванов Иван"}, "Иванов Иван"),
        ({"Имя": "Иван"}, "Иван"),
        ({"name": " ", "order": "5"}, None),
        ({"name": 5}, None),
        (None, None),
    ],
)
def test_who_is_called_by_a_list_has_the_name_that_the_list_gives_him(
    world: World, account: int, variables: dict[str, Any] | None, name: str | None
) -> None:
    attempt(world, account)
    world.execute(
        "UPDATE calls SET overrides = %(o)s WHERE account_id = %(a)s",
        {"o": None if variables is None else Jsonb({"variables": variables}), "a": account},
    )
    assert shown(world, account) == {"contact_id": None, "contact_full_name": name}


def test_a_campaign_that_copied_a_scenario_was_led_by_it(world: World, account: int) -> None:
    scenario = world.value(
        """INSERT INTO scenarios (account_id, name, script, created_at, updated_at)
        VALUES (%(a)s, 'Доставка', '{}', now(), now()) RETURNING scenario_id""",
        {"a": account},
    )
    attempt(world, account)
    attempt(world, account)
    world.execute(
        """UPDATE campaigns SET settings = jsonb_build_object('scenario_id', %(s)s::bigint)
        WHERE account_id = %(a)s AND campaign_id = (SELECT min(campaign_id) FROM campaigns WHERE account_id = %(a)s)""",
        {"s": scenario, "a": account},
    )
    world.fill()
    _, rows = world.ask(account, ("scenario_id", "scenario_name", "auto_call_campaign_name"))
    led = [row for row in rows if row["scenario_id"] == scenario]
    assert [row["scenario_name"] for row in led] == ["Доставка"]
    assert {row["scenario_name"] for row in rows} == {"Доставка", "Опрос"}
    assert {row["auto_call_campaign_name"] for row in rows} == {"Опрос"}
