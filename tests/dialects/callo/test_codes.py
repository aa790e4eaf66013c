"""Do the calls that carry a code get one, keep it to themselves, and wait for a dialer that can speak it?"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from zvonar.core.campaign import CampaignType
from zvonar.dialects.callo.routes import PREFIXES
from zvonar.store import trunks
from zvonar.store.trunks import NewTrunk

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

PHONE = "+70001230001"
# Which of the four take which campaign.
TAKEN = {
    "call": {CampaignType.regular, CampaignType.pincode},
    "confirm": {CampaignType.pincode, CampaignType.pincode_short, CampaignType.pincode_incoming},
    "tellcode": {CampaignType.tellcode},
    "flashcall": {CampaignType.flashcall},
}


def send(house: House, tenant: Tenant, path: str, campaign_id: int, **fields: Any) -> httpx.Response:
    form = {"public_key": tenant.callo, "phone": PHONE, "campaign_id": campaign_id, **fields}
    return house.send("POST", f"{PREFIXES[0]}/phones/{path}/", data=form)


def stored(house: House, call_id: int) -> Any:
    return house.run(house.db.value("SELECT overrides ->> 'code' FROM calls WHERE call_id = %s", [call_id]))


@pytest.mark.parametrize("path", TAKEN)
@pytest.mark.parametrize("kind", CampaignType)
def test_each_request_takes_its_own_types_of_campaign(
    house: House, tenant: Tenant, golden: Callable[[str], Any], path: str, kind: CampaignType
) -> None:
    campaign_id = house.campaign(tenant, type=kind, caller_ids=("+7000999XXXX",))
    response = send(house, tenant, path, campaign_id)
    if kind in TAKEN[path]:
        assert response.status_code == 200, response.text
    else:
        assert response.status_code == 400
        assert response.json() == golden("form_invalid_type.json")
        assert (
            house.run(house.db.value("SELECT count(*) FROM calls WHERE campaign_id = %s", [campaign_id])) == 0
        )


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("confirm", CampaignType.pincode),
        ("confirm", CampaignType.pincode_short),
        ("tellcode", CampaignType.tellcode),
        ("flashcall", CampaignType.flashcall),
    ],
)
def test_the_answer_is_the_samples_and_the_code_is_kept_with_the_call(
    house: House, tenant: Tenant, golden: Callable[[str], Any], path: str, kind: CampaignType
) -> None:
    campaign_id = house.campaign(tenant, type=kind, script=None, caller_ids=("+7000999XXXX",))
    answer = send(house, tenant, path, campaign_id).json()
    sample = golden(f"{path}.json")
    assert list(answer) == list(sample)
    assert list(answer["data"]) == list(sample["data"])
    assert {k: type(v) for k, v in answer["data"].items()} == {k: type(v) for k, v in sample["data"].items()}
    assert re.fullmatch(r"\d{4}", answer["data"]["pincode"])
    assert stored(house, answer["data"]["call_id"]) == answer["data"]["pincode"]


@pytest.mark.parametrize(
    ("path", "kind", "given", "kept"),
    [
        ("call", CampaignType.pincode, "0012", "0012"),
        ("confirm", CampaignType.pincode, "7", "7"),
        ("confirm", CampaignType.pincode_incoming, "4321", "4321"),
        ("tellcode", CampaignType.tellcode, "123456", "123456"),
        ("tellcode", CampaignType.tellcode, "00001234", "00001234"),
    ],
)
def test_a_code_that_is_given_is_kept_with_its_zeros(
    house: House, tenant: Tenant, path: str, kind: CampaignType, given: str, kept: str
) -> None:
    answer = send(house, tenant, path, house.campaign(tenant, type=kind), pincode=given).json()
    assert stored(house, answer.get("data", answer)["call_id"]) == kept
    assert path == "call" or answer["data"]["pincode"] == kept


@pytest.mark.parametrize(
    ("path", "kind", "name", "given", "error"),
    [
        ("confirm", CampaignType.pincode, "pincode", "12x4", "Enter a whole number."),
        ("tellcode", CampaignType.tellcode, "pincode", "123", "at least 4 characters (it has 3)."),
        ("tellcode", CampaignType.tellcode, "pincode", "123456789", "at most 8 characters (it has 9)."),
        ("flashcall", CampaignType.flashcall, "phone_suffix", "12345", "at most 4 characters (it has 5)."),
        ("flashcall", CampaignType.flashcall, "phone_suffix", "-1", "greater than or equal to 0."),
        ("flashcall", CampaignType.flashcall, "phone_suffix", "x", "Enter a whole number."),
    ],
)
def test_a_code_that_cannot_be_one_is_a_form_error_on_it(
    house: House, tenant: Tenant, path: str, kind: CampaignType, name: str, given: str, error: str
) -> None:
    campaign_id = house.campaign(tenant, type=kind, caller_ids=("+7000999XXXX",))
    said = send(house, tenant, path, campaign_id, **{name: given}).json()["data"]
    assert said.startswith(f"Form isn't valid: * {name}\n  * ")
    assert said.endswith(error)


def test_a_codes_length_is_a_setting_of_its_campaign(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant, type=CampaignType.tellcode, code_length=7)
    codes = [
        send(house, tenant, "tellcode", campaign_id, phone=f"+700012300{n:02d}").json()["data"]["pincode"]
        for n in range(20)
    ]
    assert all(re.fullmatch(r"\d{7}", code) for code in codes)
    assert len(set(codes)) > 15, "nobody can guess them"


def test_a_flash_call_rings_from_a_number_of_the_pool(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(
        tenant, type=CampaignType.flashcall, caller_ids=("+70009990007", "+700099912XX")
    )
    for asked, code in (("7", "0007"), ("0007", "0007"), ("1234", "1234")):
        answer = send(house, tenant, "flashcall", campaign_id, phone_suffix=asked).json()
        assert answer["data"]["pincode"] == code
    missing = send(house, tenant, "flashcall", campaign_id, phone_suffix="1334").json()["data"]
    assert missing == "Form isn't valid: * phone_suffix\n  * No caller ID ends with this code."
    for n in range(20):
        answer = send(house, tenant, "flashcall", campaign_id, phone=f"+700012300{n:02d}").json()
        assert re.fullmatch("0007|12..", answer["data"]["pincode"])


def test_without_a_pool_of_its_own_a_campaign_has_the_trunks(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant, type=CampaignType.flashcall)
    assert send(house, tenant, "flashcall", campaign_id).json()["data"]["pincode"] == "0000"
    abroad = send(house, tenant, "flashcall", campaign_id, phone="+79161234567").json()["data"]
    assert abroad == "Form isn't valid: * campaign_id\n  * The campaign has no caller IDs."
    mine = NewTrunk(
        name="mine", settings={}, caller_ids=["+7495123XXXX"], account_id=tenant.account.account_id
    )
    house.run(trunks.put(house.db, mine))
    answer = send(house, tenant, "flashcall", campaign_id, phone="+79161234567", phone_suffix="0815")
    assert answer.json()["data"]["pincode"] == "0815"
    stranger = house.tenant()
    other = house.campaign(stranger, type=CampaignType.flashcall)
    assert send(house, stranger, "flashcall", other, phone="+79161234567").status_code == 400


def test_who_confirms_by_calling_is_told_where(
    house: House, tenant: Tenant, golden: Callable[[str], Any]
) -> None:
    kind = CampaignType.pincode_incoming
    campaign_id = house.campaign(tenant, type=kind, incoming_numbers=("+74951234567", "+74951234568"))
    answer = send(house, tenant, "confirm", campaign_id).json()
    assert list(answer["data"]) == list(golden("confirm_incoming.json")["data"])
    assert answer["data"]["pincode"] == ""
    assert answer["data"]["allowed_phones_for_call"] == ["+74951234567", "+74951234568"]
    pooled = house.campaign(tenant, type=kind, caller_ids=("+7000999XXXX", "+70009990001"))
    answer = send(house, tenant, "confirm", pooled).json()
    assert answer["data"]["allowed_phones_for_call"] == ["+70009990001"]
    spread = house.campaign(tenant, type=kind, caller_ids=("+7000999XXXX",))
    answer = send(house, tenant, "confirm", spread).json()
    assert answer["data"]["allowed_phones_for_call"] == ["+70009990000", "+70009990001", "+70009990002"]


def test_a_call_that_nobody_could_confirm_by_calling_is_refused(house: House) -> None:
    stranger = house.tenant()
    campaign_id = house.campaign(stranger, type=CampaignType.pincode_incoming)
    # No trunk that carries other numbers than those of the trial network, so none shows any.
    answer = send(house, stranger, "confirm", campaign_id, phone="+79161234567")
    assert (answer.status_code, "campaign_id" in answer.json()["data"]) == (400, True)
    counted = "SELECT count(*) FROM calls WHERE campaign_id = %s"
    assert house.run(house.db.value(counted, [campaign_id])) == 0


def test_a_pin_campaign_is_called_with_or_without_a_text(
    house: House, tenant: Tenant, golden: Callable[[str], Any]
) -> None:
    campaign_id = house.campaign(tenant, type=CampaignType.pincode, script=None)
    answer = send(house, tenant, "call", campaign_id).json()
    assert list(answer) == list(golden("phones_call.json"))
    assert answer["audioclip_id"] is None
    assert re.fullmatch(r"\d{4}", stored(house, answer["call_id"]))
    assert send(house, tenant, "call", campaign_id, text="Введите код").json()["audioclip_id"] > 0


def test_the_limit_of_a_number_covers_all_four_ways(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant, type=CampaignType.pincode)
    ways = ["call", "confirm"] * 3
    codes = [send(house, tenant, way, campaign_id).status_code for way in ways]
    assert codes == [200] * 5 + [400]
    for way in ("tellcode", "flashcall"):
        other = house.campaign(tenant, type=CampaignType(way))
        codes = [send(house, tenant, way, other).status_code for _ in range(6)]
        assert codes == [200] * 5 + [400], way


def test_neither_codes_nor_numbers_are_printed(
    house: House, tenant: Tenant, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign_id = house.campaign(tenant, type=CampaignType.tellcode)
    for _ in range(6):
        send(house, tenant, "tellcode", campaign_id, pincode="87654321")
    printed = capsys.readouterr()
    assert "87654321" not in printed.out + printed.err
    assert PHONE[1:] not in printed.out + printed.err
