"""Who is to be called? Numbers as a client writes them become contacts, one at a time and however many there are."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Annotated, Any, BinaryIO, Final

import ijson  # type: ignore[import-untyped]
import msgspec
from ijson.common import ObjectBuilder  # type: ignore[import-untyped]
from msgspec import Meta, Struct

from zvonar.core import phone as phones
from zvonar.core.errors import DestinationRefused, PhoneInvalid, SettingsInvalid
from zvonar.core.schedule import zone_of
from zvonar.core.variables import MAX_NAME, MAX_VALUE, MAX_VARIABLES
from zvonar.dialects.autocall.errors import BODY, Unprocessable, invalid
from zvonar.dialects.autocall.limits import MAX_ERRORS, MAX_INLINE
from zvonar.dialects.autocall.requests.fields import NOT_JSON, NOT_OBJECT, TOO_DEEP, Id, Number, read
from zvonar.dialects.autocall.words import Text
from zvonar.store.contacts import NewContact

BATCH: Final = 2000  # people judged at once
_MAX_EXTRA: Final = 2000  # characters
_DEPTH: Final = 100

BAD_NUMBER = Text("This is not a dialable phone number.", "Это не телефонный номер.")
CLOSED_NUMBER = Text(
    "This destination may not be called: emergency, premium, satellite, or a closed country.",
    "Это направление закрыто: экстренные, платные, спутниковые номера или закрытая страна.",
)
BAD_ZONE = Text(
    "A time zone is an IANA name such as Asia/Almaty.", "Часовой пояс — имя IANA, например Asia/Almaty."
)
TOO_MANY = Text(
    f"At most {MAX_INLINE} numbers in one request.", f"Не больше {MAX_INLINE} номеров в одном запросе."
)

Variables = Annotated[
    dict[
        Annotated[str, Meta(pattern=r"^\w{1,64}$", max_length=MAX_NAME)],
        Annotated[str, Meta(max_length=MAX_VALUE)],
    ],
    Meta(max_length=MAX_VARIABLES, examples=[{"name": "Анна"}]),
]


class Person(Struct, frozen=True, kw_only=True):
    """Somebody to be called."""

    number: Number  # as people write it; answers have E.164 with the plus
    extra: Annotated[str, Meta(max_length=_MAX_EXTRA)] | None = None  # your own label, shown with the call
    variables: Variables | None = None  # for texts with {{name}}
    timezone: Annotated[str, Meta(max_length=60, examples=["Asia/Almaty"])] | None = None  # IANA


class Terms(Struct, frozen=True, kw_only=True):
    """What numbers are measured by."""

    countries: Sequence[str]  # where the account may call; national forms are of the first
    trial: bool  # whether town numbers are numbers


def contact(person: Person, terms: Terms, where: str) -> NewContact:
    """Somebody whom this account may call. Raises Unprocessable."""
    try:
        phone = phones.parse(person.number, country=next(iter(terms.countries), ""), trial=terms.trial)
        phones.check_destination(phone, countries=terms.countries)
    except PhoneInvalid:
        raise Unprocessable({f"{where}number": [BAD_NUMBER]}) from None
    except DestinationRefused:
        raise Unprocessable({f"{where}number": [CLOSED_NUMBER]}) from None
    if person.timezone is not None:
        try:
            zone_of(person.timezone)
        except SettingsInvalid:
            raise Unprocessable({f"{where}timezone": [BAD_ZONE]}) from None
    return NewContact(
        phone=phone, extra=person.extra, variables=person.variables or None, timezone=person.timezone
    )


class Batch(Struct, frozen=True, kw_only=True):
    """Some of what stands in a list, in its order: people, and ids of lists."""

    people: list[NewContact]
    lists: list[int]


class Streamed:
    """A JSON object in a file, of which one field is a list that may be long."""

    def __init__(self, file: BinaryIO, field: str, terms: Terms, *, lists: bool) -> None:
        """`lists`: whether the list may also hold ids of lists. Read in threads: each call takes a while."""
        self._file = file
        self._field = field
        self._terms = terms
        self._lists = lists
        self._at = 0
        self._errors: dict[str, list[Text]] = {}
        self._items: Iterator[Any] | None = None

    def head(self) -> dict[str, Any]:
        """Every other field; the long one is `[]` where it is a list, else what it is."""
        try:
            return _head(self._file, self._field)
        except ijson.JSONError:
            raise Unprocessable({BODY: [NOT_JSON]}) from None
        except RecursionError:
            raise Unprocessable({BODY: [TOO_DEEP]}) from None

    def batch(self) -> Batch | None:
        """What comes next; None at the end. Raises Unprocessable once everything was looked at."""
        if self._items is None:
            self._file.seek(0)
            self._items = ijson.items(self._file, f"{self._field}.item", use_float=True)
        found = Batch(people=[], lists=[])
        seen = 0
        for item in islice(self._items, BATCH):
            seen += 1
            self._look(item, found)
        if self._at > MAX_INLINE:
            raise Unprocessable({self._field: [TOO_MANY]})
        if len(self._errors) >= MAX_ERRORS or seen == 0:
            if self._errors:
                raise Unprocessable(self._errors)
            return None
        return found

    def _look(self, item: Any, found: Batch) -> None:
        where = f"{self._field}.{self._at}"
        self._at += 1
        try:
            if isinstance(item, dict):
                found.people.append(contact(read(Person, item, under=f"{where}."), self._terms, f"{where}."))
            elif self._lists:
                found.lists.append(_list_id(item, where))
            else:
                raise Unprocessable({where: [invalid(where, "Expected `object`")]})
        except Unprocessable as exc:
            self._errors.update(exc.errors)


def _list_id(item: Any, where: str) -> int:
    if isinstance(item, str) and item.isascii() and item.isdigit() and len(item) < 19:
        item = int(item)
    try:
        return int(msgspec.convert(item, Id))
    except (msgspec.ValidationError, OverflowError):
        message = invalid(where, "Expected the id of a list, or an object with a number")
        raise Unprocessable({where: [message]}) from None


def _head(file: BinaryIO, field: str) -> dict[str, Any]:
    """The object without what stands in its long list."""
    file.seek(0)
    if not file.read(1):
        return {}
    file.seek(0)
    builder = ObjectBuilder()
    depth = 0
    skipping = False  # inside the long list
    expects = seen = False
    for event, value in ijson.basic_parse(file, use_float=True):
        if depth == 0 and event != "start_map":
            raise Unprocessable({BODY: [NOT_OBJECT]})
        opens, closes = event in ("start_map", "start_array"), event in ("end_map", "end_array")
        depth += opens - closes
        if depth > _DEPTH:
            raise Unprocessable({BODY: [TOO_DEEP]})
        if skipping:
            if depth > 1:
                continue
            skipping = False
        elif depth == 1 and event == "map_key":
            expects = value == field
            if expects and seen:
                raise Unprocessable({field: [Text(f"{field} is given twice.", f"{field} указано дважды.")]})
            seen = seen or expects
        elif expects and depth == 2 and event == "start_array":
            skipping, expects = True, False
        else:
            expects = expects and event == "map_key"
        builder.event(event, value)
    return dict(builder.value)
