"""Does `phones/call/` take a call in every way that clients send one, and answer as the reference does?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import httpx
import pytest

from zvonar.core.campaign import CallLimit, CampaignType
from zvonar.core.script import Prompt, plain
from zvonar.dialects.callo.routes import PREFIXES
from zvonar.store import calls, clips

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

PATH = PREFIXES[0] + "/phones/call/"
URLENCODED = {"content-type": "application/x-www-form-urlencoded"}
PHONE = "+70001230001"


@pytest.fixture
def campaign_id(house: House, tenant: Tenant) -> int:
    return house.campaign(tenant)


@pytest.fixture
def add(house: House, tenant: Tenant, campaign_id: int) -> Callable[..., httpx.Response]:
    def send(**fields: str | bytes) -> httpx.Response:
        form: dict[str, Any] = {
            "public_key": tenant.callo,
            "phone": PHONE,
            "campaign_id": str(campaign_id),
            **fields,
        }
        body = urlencode({name: text for name, text in form.items() if text != ""})
        return house.send("POST", PATH, content=body, headers=URLENCODED)

    return send


def said(response: httpx.Response) -> str:
    assert response.status_code == 400, response.text
    assert list(response.json()) == ["status", "data"]
    assert response.json()["status"] == "error"
    data = response.json()["data"]
    assert isinstance(data, str)
    return data


def form_error(**errors: str) -> str:
    return "Form isn't valid: " + "\n".join(f"* {name}\n  * {text}" for name, text in errors.items())


def test_the_answer_is_the_samples_key_by_key(
    house: House, tenant: Tenant, golden: Callable[[str], Any]
) -> None:
    campaign_id = house.campaign(tenant, caller_ids=("+70009990000",))
    sample = golden("phones_call.json")
    response = house.send(
        "POST",
        PATH,
        data={"public_key": tenant.callo, "phone": PHONE, "campaign_id": campaign_id, "text": "Текст"},
    )
    answer = response.json()
    assert response.status_code == 200
    assert list(answer) == list(sample)
    assert {k: type(v) for k, v in answer.items()} == {k: type(v) for k, v in sample.items()}
    assert len(str(answer["call_id"])) == 15
    assert len(str(answer["audioclip_id"])) == 10
    assert (answer["phone"], answer["callerid"]) == (PHONE, "+70009990000")
    assert answer["balance"] == "1000.000000"
    assert answer["created"] == house.clock.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert response.headers["content-type"] == "application/json"
    assert response.headers["content-language"] == "en"
    assert response.headers["vary"] == "Accept-Language, Cookie"


def test_a_rotating_caller_id_is_not_promised(
    house: House, tenant: Tenant, add: Callable[..., httpx.Response], golden: Callable[[str], Any]
) -> None:
    rotating = house.campaign(tenant, caller_ids=("+70009990000", "+70009990001"))
    wild = house.campaign(tenant, caller_ids=("+7000999XXXX",))
    for answer in (add(), add(campaign_id=str(rotating)), add(campaign_id=str(wild))):
        assert list(answer.json()) == list(golden("phones_call.json"))
        assert answer.json()["callerid"] is None


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("path", ["/phones/call/", "/phones/call", "//phones/call/"])
@pytest.mark.parametrize("way", ["get", "query of a post", "form", "multipart"])
def test_every_transport_of_every_path_is_served(
    house: House, tenant: Tenant, campaign_id: int, prefix: str, path: str, way: str
) -> None:
    form = {
        "public_key": tenant.callo,
        "phone": PHONE,
        "campaign_id": str(campaign_id),
        "text": "Здравствуйте, это проверка + плюс",
        "record": "1",
        "ivr_lvl_1_btn_с_sms": "имя кириллицей",  # no parameter of the reference
    }
    options: dict[str, Any] = {
        "get": {"params": form},
        "query of a post": {"params": form},
        "form": {"data": form},
        "multipart": {"files": {name: (None, text) for name, text in form.items()}},
    }[way]
    response = house.send("GET" if way == "get" else "POST", prefix + path, pause=30, **options)
    assert response.status_code == 200, response.text
    clip = house.run(clips.get(house.db, tenant.account.account_id, response.json()["audioclip_id"]))
    assert clip.text == form["text"]


@pytest.mark.parametrize(
    "written",
    [
        *(
            "+70001230002",
            "%2B70001230002",
            "%252B70001230002",
            "70001230002",
            "0001230002",
            "%2070001230002",
        ),
        # Blanks as forms encode them, beside a plus that is encoded and one that is not.
        *("%2B7+(000)+123-00-02", "+7+(000)+123-00-02", "7+000+123+00+02+", "+%2B7+000+123+00+02"),
    ],
)
def test_a_phone_is_read_however_it_was_encoded(
    house: House, tenant: Tenant, campaign_id: int, written: str
) -> None:
    query = f"?public_key={quote(tenant.callo)}&campaign_id={campaign_id}&phone={written}"
    in_query = house.send("GET", PATH + query)
    in_body = house.send("POST", PATH, content=query[1:], headers=URLENCODED)
    assert in_query.json()["phone"] == in_body.json()["phone"] == "+70001230002"


def test_raw_utf8_in_a_urlencoded_body_is_not_mojibake(
    house: House, tenant: Tenant, campaign_id: int
) -> None:
    body = (
        f"public_key={quote(tenant.callo)}&campaign_id={campaign_id}&phone={PHONE}&text=Добрый+день".encode()
    )
    response = house.send("POST", PATH, content=body, headers=URLENCODED)
    clip = house.run(clips.get(house.db, tenant.account.account_id, response.json()["audioclip_id"]))
    assert clip.text == "Добрый день"


def test_what_was_sent_is_what_is_dialled(
    house: House, tenant: Tenant, add: Callable[..., httpx.Response]
) -> None:
    answer = add(
        text="Ваш код", label="метка_1", max_call_time="42", speaker="Tatyana", emotion="good"
    ).json()
    [call] = house.run(calls.by_ids(house.db, tenant.account.account_id, [answer["call_id"]]))
    assert (call.phone, call.label, call.clip_id) == (PHONE, "метка_1", answer["audioclip_id"])
    overrides = house.run(
        house.db.value("SELECT overrides FROM calls WHERE call_id = %s", [answer["call_id"]])
    )
    higher = {"language": "ru", "name": None, "rate": 105, "pitch": 115}
    assert overrides == {"text": "Ваш код", "max_call_time": 42, "voice": higher}


def test_the_same_text_is_the_same_clip_and_no_text_the_campaigns(
    add: Callable[..., httpx.Response],
) -> None:
    first, again, other, none = (
        add(text=text, phone=f"+7000123000{n}").json()["audioclip_id"]
        for n, text in enumerate(["раз", "раз", "два", ""])
    )
    assert first == again
    assert len({first, other, none}) == 3
    assert add(text="Нажмите один").json()["audioclip_id"] == none


def test_a_campaign_that_says_nothing_needs_a_text(house: House, tenant: Tenant) -> None:
    silent = house.campaign(tenant, script=None)
    clip = house.campaign(tenant, script=plain(Prompt(clip_id=1234567890)))
    form = {"public_key": tenant.callo, "phone": PHONE}
    assert said(house.send("POST", PATH, data={**form, "campaign_id": silent})) == form_error(
        text="This field is required."
    )
    assert house.send("POST", PATH, data={**form, "campaign_id": silent, "text": "т"}).status_code == 200
    assert house.send("POST", PATH, data={**form, "campaign_id": clip}).json()["audioclip_id"] == 1234567890


def test_missing_fields_read_as_the_references_form(
    house: House, campaign_id: int, golden: Callable[[str], Any]
) -> None:
    response = house.send("POST", PATH, data={"campaign_id": campaign_id})
    assert response.status_code == 400
    assert response.json() == golden("form_missing.json")
    russian = house.send("POST", PATH, headers={"accept-language": "ru-RU,ru;q=0.9,en;q=0.8"})
    assert russian.headers["content-language"] == "ru"
    assert said(russian) == form_error(
        public_key="Обязательное поле.", phone="Обязательное поле.", campaign_id="Обязательное поле."
    )


def test_a_campaign_of_another_type_reads_as_the_references_form(
    house: House, tenant: Tenant, add: Callable[..., httpx.Response], golden: Callable[[str], Any]
) -> None:
    other = house.campaign(tenant, type=CampaignType.tellcode)
    assert add(campaign_id=str(other)).json() == golden("form_invalid_type.json")


def test_an_unknown_campaign_reads_as_the_sample(
    house: House, add: Callable[..., httpx.Response], golden: Callable[[str], Any]
) -> None:
    assert add(campaign_id="123456789").json() == golden("phones_call_no_campaign.json")
    strangers = house.campaign(house.tenant())
    assert said(add(campaign_id=str(strangers))) == f"Campaign by id={strangers} don't found"
    assert said(add(campaign_id="9" * 40)) == f"Campaign by id={'9' * 40} don't found"


@pytest.mark.parametrize(
    ("field", "text", "error"),
    [
        ("public_key", "nobody", "Invalid public key."),
        ("campaign_id", "abc", "Enter a whole number."),
        ("campaign_id", "1" * 41, "Enter a whole number."),
        ("campaign_id", "١٢٣", "Enter a whole number."),
        ("phone", "abc", "Enter a valid phone number."),
        ("phone", "+7", "Enter a valid phone number."),
        ("phone", "%2B%2B", "Enter a valid phone number."),
        ("phone", "112", "Enter a valid phone number."),
        ("phone", "+7112", "Enter a valid phone number."),
        ("phone", "+7000\x00", "Null characters are not allowed."),
        ("phone", b"+7\xff", "Enter text in UTF-8."),
        ("text", "до\x00ро", "Null characters are not allowed."),
        ("text", b"\xed\xa0\x80", "Enter text in UTF-8."),
        ("text", "ы" * 4001, "Ensure this value has at most 4000 characters (it has 4001)."),
        ("text", '<audio id="100500"/>', "There is no such audio clip."),
        ("text", "<p>да", "Enter a valid text: Mismatched tag."),
        ("label", "two words", "Enter a valid value."),
        ("label", "а" * 201, "Ensure this value has at most 200 characters (it has 201)."),
        ("pincode", "12x4", "Enter a whole number."),
        ("pincode", "-1234", "Ensure this value is greater than or equal to 0."),
        ("pincode", "1" * 21, "Ensure this value has at most 20 characters (it has 21)."),
        ("speaker", "x" * 201, "Ensure this value has at most 200 characters (it has 201)."),
        ("emotion", "\0", "Null characters are not allowed."),
        ("max_call_time", "1.5", "Enter a whole number."),
        ("max_call_time", "0", "Ensure this value is greater than or equal to 1."),
        ("max_call_time", "3601", "Ensure this value is less than or equal to 3600."),
    ],
)
def test_a_wrong_field_is_a_form_error_that_names_it(
    add: Callable[..., httpx.Response], field: str, text: str | bytes, error: str
) -> None:
    assert said(add(**{field: text})) == form_error(**{field: error})


@pytest.mark.parametrize(
    "phone",
    [
        "+380123456789",  # the reference's own example, which no numbering plan has
        "+380671234567",  # a country that the account does not allow
        "+12025550123",
        "+79542000000",  # a satellite telephone
        "+78095000000",  # a premium service
    ],
)
def test_where_a_possible_number_may_be_dialled_is_not_the_forms_business(
    add: Callable[..., httpx.Response], phone: str
) -> None:
    assert add(phone=phone).json()["phone"] == phone


def test_a_speaker_of_the_original_chooses_the_language(
    house: House, tenant: Tenant, add: Callable[..., httpx.Response]
) -> None:
    voices = []
    for number, speaker in enumerate(["", "Salli", "JOANNA", "Maxim", "Whoever"]):
        answer = add(text="Five", speaker=speaker, phone=f"+7000123100{number}").json()
        clip = house.run(clips.get(house.db, tenant.account.account_id, answer["audioclip_id"]))
        assert clip.voice is not None
        voices.append(clip.voice["language"])
        overrides = house.run(
            house.db.value("SELECT overrides FROM calls WHERE call_id = %s", [answer["call_id"]])
        )
        assert ("voice" in overrides) == (voices[-1] == "en")
    assert voices == ["ru", "en", "en", "ru", "ru"]


def test_everything_wrong_is_said_at_once(add: Callable[..., httpx.Response]) -> None:
    wrong = add(phone="", label="?", max_call_time="soon", campaign_id="one")
    assert said(wrong) == form_error(
        phone="This field is required.",
        campaign_id="Enter a whole number.",
        label="Enter a valid value.",
        max_call_time="Enter a whole number.",
    )


def test_a_label_is_unique_within_its_campaign(
    house: House, tenant: Tenant, add: Callable[..., httpx.Response]
) -> None:
    assert add(label="one").status_code == 200
    assert said(add(label="one")) == form_error(
        label="A call with this label already exists in the campaign."
    )
    assert add(label="one", campaign_id=str(house.campaign(tenant))).status_code == 200


def test_a_cancelled_campaign_takes_nothing(
    house: House, campaign_id: int, add: Callable[..., httpx.Response]
) -> None:
    house.run(
        house.db.execute("UPDATE campaigns SET status = 'cancelled' WHERE campaign_id = %s", [campaign_id])
    )
    assert said(add()) == form_error(campaign_id="The campaign is finished.")


def test_an_empty_balance_adds_no_calls(house: House) -> None:
    poor = house.tenant(balance="0")
    form = {"public_key": poor.callo, "phone": PHONE, "campaign_id": house.campaign(poor)}
    assert said(house.send("POST", PATH, data=form)) == form_error(public_key="Insufficient balance.")


def test_town_numbers_are_none_without_the_town(house: House, add: Callable[..., httpx.Response]) -> None:
    set_enabled = "UPDATE trunks SET enabled = %s WHERE trunk_id = %s"
    house.run(house.db.execute(set_enabled, [False, house.trunk.trunk_id]))
    try:
        house.send("GET", PATH, pause=2)
        assert said(add()) == form_error(phone="Enter a valid phone number.")
    finally:
        house.run(house.db.execute(set_enabled, [True, house.trunk.trunk_id]))


def test_one_number_is_called_five_times_in_thirty_seconds_and_no_more(
    house: House, tenant: Tenant, campaign_id: int, golden: Callable[[str], Any]
) -> None:
    form = {"public_key": tenant.callo, "phone": PHONE, "campaign_id": campaign_id}

    def send(pause: float, **other: Any) -> httpx.Response:
        return house.send("POST", PATH, pause=pause, data={**form, **other})

    assert [send(2).status_code for _ in range(5)] == [200] * 5
    refused = send(2)
    expected = golden("phones_call_too_often.json")["data"]
    expected = expected.replace("123456789, +380123456789", f"{campaign_id}, {PHONE}")
    assert said(refused) == expected
    assert send(2, phone="+70001230005").status_code == 200, "another number"
    assert send(2, campaign_id=house.campaign(tenant)).status_code == 200, "another campaign"
    # Five went at 2, 4, 6, 8 and 10: the first stops counting at 32, and what was refused never counted.
    assert send(15.9).status_code == 400
    assert send(0.1).status_code == 200
    assert send(0.1).status_code == 400
    stored = house.run(house.db.value("SELECT string_agg(r::text, ' ') FROM rate_limits r"))
    assert PHONE[1:] not in stored


def test_the_limit_of_a_number_is_a_setting_of_its_campaign(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant, call_limit=CallLimit(count=1, seconds=60))
    form = {"public_key": tenant.callo, "phone": PHONE, "campaign_id": campaign_id}
    assert house.send("POST", PATH, data=form).status_code == 200
    refused = said(house.send("POST", PATH, data=form, pause=58))
    assert refused == f"Calls count to camp_id:{campaign_id}, {PHONE} is excess (limit 1/60sec)"
    assert house.send("POST", PATH, data=form, pause=2).status_code == 200


def test_twenty_requests_a_second_and_then_a_page(house: House, tenant: Tenant) -> None:
    form = {"public_key": tenant.callo}
    house.send("POST", PATH, data=form, pause=5)
    assert {house.send("POST", PATH, data=form, pause=0.04).status_code for _ in range(19)} == {400}
    page = house.send("POST", PATH, data=form, pause=0.04)
    assert page.status_code == 429
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["retry-after"] == "1"
    assert house.send("POST", PATH, data=form, pause=0.3).status_code == 400, "a second after the first"


def test_a_body_beyond_all_bounds_is_refused_in_the_dialects_shape(house: House, tenant: Tenant) -> None:
    response = house.send("POST", PATH, data={"public_key": tenant.callo, "text": "x" * 1_100_000})
    assert response.status_code == 413
    assert list(response.json()) == ["status", "data"]
    many = house.send("POST", PATH, content=b"&" * 2000, headers=URLENCODED)
    assert said(many) == form_error(__all__="The form is too large.")


@pytest.mark.parametrize("boundary", ["", "; boundary=x", '; boundary=""'])
def test_a_broken_multipart_is_a_form_error(house: House, boundary: str) -> None:
    kind = {"content-type": "multipart/form-data" + boundary}
    body = b'--x\r\nContent-Disposition: form-data; name="phone"\r\n\r\n+7'
    assert said(house.send("POST", PATH, content=body, headers=kind)) == form_error(
        __all__="The form could not be read."
    )
