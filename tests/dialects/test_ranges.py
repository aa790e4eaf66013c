"""Does a range of bytes mean what RFC 9110 says?"""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zvonar.dialects.ranges import Part, Unsatisfiable, Version, part_of, range_counts, unchanged

VERSION = Version(tag='"abc-1"', modified=datetime(2026, 11, 22, 9, 0, 0, 123456, tzinfo=UTC))


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("bytes=0-0", (0, 0)),
        ("bytes=0-9", (0, 9)),
        ("bytes=3-5", (3, 5)),
        ("bytes=3-", (3, 9)),
        ("bytes=9-", (9, 9)),
        ("bytes=5-1000", (5, 9)),
        ("bytes=-1", (9, 9)),
        ("bytes=-10", (0, 9)),
        ("bytes=-11", (0, 9)),
        ("bytes=0-99999999999999999999999999", (0, 9)),
        ("Bytes = 0-4", (0, 4)),
        (" bytes=0-4 ", (0, 4)),
        # Ignored: another unit, several ranges, the last before the first, no range at all.
        (None, None),
        ("", None),
        ("lines=0-4", None),
        ("bytes=0-1,3-4", None),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=", None),
        ("bytes=a-b", None),
        ("bytes=0x1-2", None),
        ("bytes=--1", None),
        ("bytes=+1-2", None),
        ("bytes=1-2;q=1", None),
        ("bytes=１-2", None),
        (f"bytes={'9' * 5000}-", None),
    ],
)
def test_a_range_of_ten_bytes(header: str | None, wanted: tuple[int, int] | None) -> None:
    part = part_of(header, 10)
    assert (part and (part.first, part.last)) == wanted


@pytest.mark.parametrize(
    ("header", "size"),
    [("bytes=10-", 10), ("bytes=10-20", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-5", 0)],
)
def test_bytes_that_the_file_does_not_have(header: str, size: int) -> None:
    with pytest.raises(Unsatisfiable):
        part_of(header, size)


@given(st.integers(1, 200), st.lists(st.integers(1, 199), max_size=6))
def test_consecutive_ranges_make_up_the_file(size: int, cuts: list[int]) -> None:
    data = bytes(range(size))
    ends = sorted({cut for cut in cuts if cut < size} | {size})
    begin, whole = 0, b""
    for end in ends:
        part = part_of(f"bytes={begin}-{end - 1}", size)
        assert part is not None
        assert part.length == end - begin
        whole += data[part.first : part.last + 1]
        begin = end
    assert whole == data


@given(st.text(max_size=30), st.integers(0, 100))
def test_any_header_is_a_part_of_the_file_or_none(header: str, size: int) -> None:
    for tried in (header, f"bytes={header}"):
        try:
            part = part_of(tried, size)
        except Unsatisfiable:
            continue
        assert part is None or 0 <= part.first <= part.last < size
        assert part is None or isinstance(part, Part)


@pytest.mark.parametrize(
    ("if_range", "counts"),
    [
        (None, True),
        ('"abc-1"', True),
        ("Sun, 22 Nov 2026 09:00:00 GMT", True),
        ('"abc-2"', False),
        ('W/"abc-1"', False),
        ("Sun, 22 Nov 2026 09:00:01 GMT", False),
        ("Sat, 21 Nov 2026 09:00:00 GMT", False),
        ("", False),
    ],
)
def test_a_range_of_another_version_does_not_count(if_range: str | None, counts: bool) -> None:
    assert range_counts(if_range, VERSION) is counts


@pytest.mark.parametrize(
    ("headers", "same"),
    [
        ({}, False),
        ({"if-none-match": '"abc-1"'}, True),
        ({"if-none-match": 'W/"abc-1"'}, True),
        ({"if-none-match": '"x", "abc-1"'}, True),
        ({"if-none-match": "*"}, True),
        ({"if-none-match": '"x"'}, False),
        ({"if-none-match": ""}, False),
        ({"if-modified-since": "Sun, 22 Nov 2026 09:00:00 GMT"}, True),
        ({"if-modified-since": "Sun, 22 Nov 2026 08:59:59 GMT"}, False),
        ({"if-modified-since": "Sun, 22 Nov 2026 09:00:00 -0000"}, True),
        ({"if-modified-since": "yesterday"}, False),
        ({"if-modified-since": "Sun, 22 Nov 99999 09:00:00 GMT"}, False),
        # The tag is the better witness.
        ({"if-none-match": '"x"', "if-modified-since": "Sun, 22 Nov 2026 09:00:00 GMT"}, False),
    ],
)
def test_who_has_this_version_need_not_be_sent_it(headers: dict[str, str], same: bool) -> None:
    assert unchanged(headers, VERSION) is same


@given(st.text(max_size=40))
def test_no_date_at_all_is_an_error(text: str) -> None:
    assert unchanged({"if-modified-since": text}, VERSION) in (True, False)
