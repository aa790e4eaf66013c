"""Does any request at all bring anything but the dialect's own shapes?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_from_bytes

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zvonar.dialects.callo.routes import PREFIXES

if TYPE_CHECKING:
    from tests.dialects.conftest import House

FAST = settings(max_examples=120, deadline=None)
PATHS = st.sampled_from([PREFIXES[0] + "/phones/call/", PREFIXES[0] + "/phones/call_by_id/"])
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
    ]
)
VALUES = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(
        [b"+70001230001", b"1", b"\0", b"%252B7", b"%FF", b"9" * 30, b"-1", b"1,2,3", b"\xed\xa0\x80"]
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
    return [(b"public_key", tenant.callo.encode()), (b"campaign_id", str(house.campaign(tenant)).encode())]


def shaped(response: httpx.Response) -> None:
    answer: Any = response.json()
    if response.status_code == 200:
        assert isinstance(answer, list) or list(answer)[:2] == ["call_id", "phone"]
    else:
        assert response.status_code == 400, response.text
        assert list(answer) == ["status", "data"]
        assert answer["status"] == "error"
        assert isinstance(answer["data"], str)


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
        shaped(house.send("POST", path, content=written, headers=headers))
    else:
        shaped(house.send("GET", f"{path}?{written.decode()}"))


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
    shaped(house.send("POST", path, content=body, headers=headers))


@given(path=PATHS, query=st.text(max_size=60), body=st.binary(max_size=200), kind=TYPES)
@FAST
def test_any_bytes_at_all_get_a_shaped_answer(
    house: House, path: str, query: str, body: bytes, kind: bytes
) -> None:
    query = quote(query.encode("utf-8", "surrogatepass"), safe="%&=;+")
    shaped(house.send("POST", f"{path}?{query}", content=body, headers={b"content-type": kind}))
