"""Does any request at all bring anything but the dialect's own shapes, and does a refusal change nothing?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_from_bytes

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar import Litestar

from zvonar.core.campaign import CampaignType
from zvonar.dialects.callo.routes import PREFIXES, Service, routes

if TYPE_CHECKING:
    from tests.dialects.conftest import House

FAST = settings(max_examples=120, deadline=None)
ENDPOINTS = [
    *("phones/call", "phones/confirm", "phones/tellcode", "phones/flashcall", "phones/call_by_id"),
    *("phones/calls_by_phone", "phones/calls_by_label", "phones/all_calls", "phones/camp_stats"),
    *("phones/remove_call", "phones/stoplist", "phones/cost", "users/balance", "campaigns"),
    "def_codes/by_phone",
]
# Those about files are asked with files, where the rest of what is about them is tested.
OF_FILES = [
    *(
        "phones/append/calls",
        "phonelists/call_ids_by_phonelist",
        "phonelists/progress",
        "phonelists/rejected",
    ),
    *("audio/upload", "audio/info"),
]
PATHS = st.sampled_from([f"{PREFIXES[0]}/{endpoint}/" for endpoint in ENDPOINTS])
NAMES = st.sampled_from(
    [
        b"phone",
        b"text",
        b"label",
        b"max_call_time",
        b"pincode",
        b"call_id",
        b"call_ids",
        b"expand",
        b"public_key",
        *(b"phones", b"labels", b"campaign_id", b"speaker", b"emotion", b"phone_suffix", b"page", b"mode"),
        *(b"call_status", b"from_created_date", b"to_created_date", b"from_updated_date"),
        *(b"to_updated_date", b"from_date", b"to_date", b"ivr_lvl_1_btn_\xd1\x81_sms_text"),
    ]
)
VALUES = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(
        [
            *(b"+70001230001", b"1", b"\0", b"%252B7", b"%FF", b"9" * 30, b"-1", b"1,2,3", b"\xed\xa0\x80"),
            *(b"+380123456789", b"112", b"2020-01-01", b"2020-01-01 00:00:00", b"0001-01-01", b"9999-12-31"),
            *(b"9999-12-31T23:59:59+14:00", b"0001-01-01T00:00:00-12:00", b"user", b"all", b"label_1"),
            *(b"9223372036854775807", b"9223372036854775808", b"4611686018427387", b"%", b"'", b"{}"),
        ]
    ),
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=6)
TYPES = st.sampled_from(
    [
        b"application/x-www-form-urlencoded",
        b"multipart/form-data; boundary=x",
        b"multipart/form-data",
        b"text/plain",
        b"\x80;=",
        b"",
    ]
)

Send = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def known(house: House) -> list[tuple[bytes, bytes]]:
    """A key and a campaign that are right, so that the rest is looked at."""
    tenant = house.tenant()
    campaigns = [
        house.campaign(tenant, type=kind, caller_ids=("+7000999XXXX",))
        for kind in (
            CampaignType.tellcode,
            CampaignType.flashcall,
            CampaignType.pincode,
            CampaignType.regular,
        )
    ]
    form = {"public_key": tenant.callo, "campaign_id": campaigns[-1], "phone": "+70001230001"}
    house.send("POST", PREFIXES[0] + "/phones/call/", data={**form, "label": "label_1"})
    ids = [(b"campaign_id", str(campaign_id).encode()) for campaign_id in campaigns]
    return [(b"public_key", tenant.callo.encode()), *ids]


def test_every_endpoint_is_asked(house: House) -> None:
    service = Service(db=house.db, now=lambda: house.clock, media=house.media)
    app = Litestar(routes(service), openapi_config=None, logging_config=None)
    for prefix in PREFIXES:
        paths = {route.path for route in app.routes if route.path.startswith(prefix)}
        assert {path.removeprefix(prefix).strip("/") for path in paths} == {*ENDPOINTS, *OF_FILES}


@pytest.mark.parametrize("endpoint", sorted({*ENDPOINTS, *OF_FILES} - {"def_codes/by_phone"}))
def test_an_unknown_key_is_refused_in_the_same_words_everywhere(
    house: House, known: list[tuple[bytes, bytes]], golden: Callable[[str], Any], endpoint: str
) -> None:
    form = {"public_key": "nobody", "campaign_id": known[-1][1].decode(), "phone": "+70001230001"}
    answer = shaped(house, lambda: house.send("POST", f"{PREFIXES[0]}/{endpoint}/", data=form))
    assert answer == golden("errors/unknown_key_of_a_reader.json")


def shaped(house: House, send: Callable[[], httpx.Response]) -> Any:
    """The answer, which is one of ours."""
    before = house.picture()
    response = send()
    answer: Any = response.json()
    if response.status_code != 200:
        assert response.status_code == 400, response.text
        assert list(answer) == ["status", "data"]
        assert answer["status"] == "error"
        assert isinstance(answer["data"], str)
        assert house.picture() == before
    return answer


@given(path=PATHS, fields=FIELDS, body=st.booleans(), raw=st.booleans())
@FAST
def test_any_urlencoded_fields_get_a_shaped_answer(
    house: House,
    known: list[tuple[bytes, bytes]],
    path: str,
    fields: list[tuple[bytes, bytes]],
    body: bool,
    raw: bool,
) -> None:
    written = b"&".join(
        name + b"=" + (value if body and raw else quote_from_bytes(value).encode())
        for name, value in [*known, *fields]
    )
    if body:
        headers = {"content-type": "application/x-www-form-urlencoded"}
        shaped(house, lambda: house.send("POST", path, content=written, headers=headers))
    else:
        shaped(house, lambda: house.send("GET", f"{path}?{written.decode()}"))


@given(path=PATHS, fields=FIELDS, cut=st.integers(0, 400))
@FAST
def test_any_multipart_fields_whole_or_cut_get_a_shaped_answer(
    house: House, known: list[tuple[bytes, bytes]], path: str, fields: list[tuple[bytes, bytes]], cut: int
) -> None:
    parts = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % field
        for field in [*known, *fields]
    )
    body = (parts + b"--x--\r\n")[: -cut or None]
    headers = {"content-type": "multipart/form-data; boundary=x"}
    shaped(house, lambda: house.send("POST", path, content=body, headers=headers))


@given(path=PATHS, query=st.text(max_size=60), body=st.binary(max_size=200), kind=TYPES)
@FAST
def test_any_bytes_at_all_get_a_shaped_answer(
    house: House, path: str, query: str, body: bytes, kind: bytes
) -> None:
    query = quote(query.encode("utf-8", "surrogatepass"), safe="%&=;+")
    shaped(
        house, lambda: house.send("POST", f"{path}?{query}", content=body, headers={b"content-type": kind})
    )


# Fields that are right, or nearly: most requests get through, and what they meet is what others of them have made.
NEARLY = st.fixed_dictionaries(
    {},
    optional={
        "campaign": st.integers(0, 3),
        "phone": st.sampled_from(["+70001230001", "+70001230002", "0001230003", "+380123456789", "x"]),
        "label": st.sampled_from(["a", "b", "c d", "label_1"]),
        "text": st.sampled_from(["раз", "два", ""]),
        "pincode": st.sampled_from(["1234", "00001", "x", "123456789"]),
        "phone_suffix": st.sampled_from(["7", "0007", "99999"]),
        "call_id": st.integers(0, 3),
        "call_ids": st.sampled_from(["1", "1,2", "x"]),
        "phones": st.sampled_from(["+70001230001", "+70001230001,+70001230002"]),
        "labels": st.sampled_from(["a, b", "c"]),
        "expand": st.sampled_from(["0", "1"]),
        "page": st.integers(-1, 3),
        "call_status": st.sampled_from(["in_process", "deleted", "user", "1", "?"]),
        "from_created_date": st.sampled_from(["2026-01-01", "2026-13-01", "2026-11-22 10:00:00"]),
        "from_date": st.sampled_from(["2026-01-01", "now"]),
        "to_date": st.sampled_from(["2099-01-01", "2026-11-22 10:00:00"]),
    },
)


@given(requests=st.lists(st.tuples(PATHS, NEARLY), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_no_sequence_of_requests_breaks_a_shape_or_a_count(
    house: House, known: list[tuple[bytes, bytes]], requests: list[tuple[str, dict[str, Any]]]
) -> None:
    key, *campaigns = [value.decode() for _, value in known]
    calls: list[int] = []
    for path, fields in requests:
        form = {name: str(value) for name, value in fields.items()}
        form["campaign_id"] = campaigns[int(form.pop("campaign", "3"))]
        if "call_id" in form and calls:
            form["call_id"] = str(calls[int(form["call_id"]) % len(calls)])
        sent = {"public_key": key, **form}
        answer = shaped(house, partial(house.send, "POST", path, data=sent))
        if (
            isinstance(answer, dict)
            and isinstance(data := answer.get("data", answer), dict)
            and "call_id" in data
        ):
            calls.append(data["call_id"])
    # Numbered without a gap, and counted to the last.
    wrong = house.run(
        house.db.value(
            """SELECT count(*) FROM campaigns g, LATERAL (
                SELECT count(*) AS n, coalesce(max(ordinal), 0) AS highest FROM calls c
                WHERE c.campaign_id = g.campaign_id) c
            WHERE g.campaign_id = ANY(%s) AND (c.n <> g.next_ordinal OR c.highest <> g.next_ordinal
                OR c.n <> (SELECT coalesce(sum(t.n), 0) FROM campaign_tallies t
                           WHERE t.campaign_id = g.campaign_id AND t.key LIKE 'state/%%'))""",
            [[int(campaign_id) for campaign_id in campaigns]],
        )
    )
    assert wrong == 0
