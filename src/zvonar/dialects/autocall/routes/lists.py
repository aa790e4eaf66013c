"""How are lists of contacts kept? As JSON, or from CSV and XLSX, and changed one contact at a time."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, BinaryIO

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from zvonar.core import phone as phones
from zvonar.core.errors import DestinationRefused, SettingsInvalid
from zvonar.core.schedule import zone_of
from zvonar.core.variables import MAX_VALUE, MAX_VARIABLES
from zvonar.dialects.autocall import errors
from zvonar.dialects.autocall.answers import local_time
from zvonar.dialects.autocall.errors import Unprocessable, required
from zvonar.dialects.autocall.limits import MAX_INLINE, MAX_LIST
from zvonar.dialects.autocall.operations import Asked, Example, Operation
from zvonar.dialects.autocall.pages import Page
from zvonar.dialects.autocall.requests.fields import Name, Number, PageQuery, given_fields, read
from zvonar.dialects.autocall.requests.forms import file_form, is_form, table_in
from zvonar.dialects.autocall.requests.people import TOO_MANY, Person, Streamed, Variables, contact
from zvonar.dialects.autocall.routes.calls import known_number
from zvonar.dialects.autocall.routes.common import paged, terms_of
from zvonar.dialects.autocall.words import Text, language_of
from zvonar.intake import reasons, table
from zvonar.intake.table import Entry, Table
from zvonar.store import contacts, phone_lists
from zvonar.store.contacts import Contact as StoredContact
from zvonar.store.contacts import ContactList, NewContact
from zvonar.store.phone_lists import Rejected as RejectedRow

TAG = "lists"
_ROWS = 2000  # of a table, judged at once
_MAX_EXTRA = 2000


class PhoneList(Struct, frozen=True, kw_only=True):
    """A list of contacts."""

    id: int
    name: str
    contacts_count: int
    rejected_count: int  # rows of uploads that became no contacts
    created_at: str
    updated_at: str


class Contact(Struct, frozen=True, kw_only=True):
    """Somebody on a list."""

    id: int
    list_id: int
    number: str  # E.164 with the plus
    extra: str | None
    variables: dict[str, str]
    timezone: str | None
    created_at: str


class Rejected(Struct, frozen=True, kw_only=True):
    """A row of an upload that became no contact."""

    line: int
    reason: str
    message: str
    value: str  # the number as typed


class NewList(Struct, frozen=True, kw_only=True):
    """A list to be created."""

    name: Name
    contacts: Annotated[list[Any], Meta(max_length=0)] = []


class NewListBody(Struct, frozen=True, kw_only=True):
    """A list to be created."""

    name: Name
    contacts: list[Person] = []  # up to a million


class MoreContactsBody(Struct, frozen=True, kw_only=True):
    """Whom to put on a list."""

    contacts: list[Person]


class ListChange(Struct, frozen=True, kw_only=True):
    """What is to be different."""

    name: Name


class ContactChange(Struct, frozen=True, kw_only=True):
    """What is to be different. Fields that are left out stay as they are."""

    number: Number | UnsetType = UNSET
    extra: Annotated[str, Meta(max_length=_MAX_EXTRA)] | UnsetType | None = UNSET
    variables: Variables | UnsetType | None = UNSET
    timezone: Annotated[str, Meta(max_length=60)] | UnsetType | None = UNSET


class ListQuery(PageQuery, frozen=True, kw_only=True):
    """Which lists."""

    name: Annotated[str, Meta(min_length=1, max_length=200)] | None = None  # part of it


class ContactQuery(PageQuery, frozen=True, kw_only=True):
    """Which contacts."""

    number: Number | None = None


async def index(asked: Asked) -> Page[PhoneList]:
    """Lists, newest first."""
    query: ListQuery = asked.query
    found, total = await contacts.lists(
        asked.db, asked.account_id, name=query.name, number=query.page, size=query.per_page
    )
    return paged(asked, [_list(one, asked) for one in found], total)


async def create(asked: Asked) -> PhoneList:
    """A list, from JSON or from a file."""
    if is_form(asked.request):
        async with file_form(asked.request, asked.file) as form:
            name = read(ListChange, {"name": form.filename[:200], **form.fields}).name
            made = await contacts.add_list(asked.db, asked.account_id, name=name, now=asked.now)
            await _put_table(asked, made, form.file)
    else:
        streamed = Streamed(asked.file, "contacts", await terms_of(asked), lists=False)
        new = read(NewList, await asyncio.to_thread(streamed.head))
        made = await contacts.add_list(asked.db, asked.account_id, name=new.name, now=asked.now)
        await _put_streamed(asked, made, streamed)
    return _list(await contacts.get_list(asked.db, asked.account_id, made.phone_list_id), asked)


async def add(asked: Asked) -> PhoneList:
    """More contacts, from JSON or from a file."""
    held = await _held(asked, lock=True)
    if is_form(asked.request):
        async with file_form(asked.request, asked.file) as form:
            await _put_table(asked, held, form.file)
    else:
        streamed = Streamed(asked.file, "contacts", await terms_of(asked), lists=False)
        head = await asyncio.to_thread(streamed.head)
        if "contacts" not in head:
            raise Unprocessable({"contacts": [required("contacts")]})
        read(NewList, {"name": held.name, "contacts": head["contacts"]})
        await _put_streamed(asked, held, streamed)
    return _list(await contacts.get_list(asked.db, asked.account_id, held.phone_list_id), asked)


async def show(asked: Asked) -> PhoneList:
    """One list."""
    return _list(await _held(asked), asked)


async def change(asked: Asked) -> PhoneList:
    """Call a list something else."""
    held = await _held(asked)
    await contacts.rename(asked.db, asked.account_id, held.phone_list_id, name=asked.body.name, now=asked.now)
    return _list(await _held(asked), asked)


async def delete(asked: Asked) -> None:
    """Forget a list and its contacts."""
    await contacts.delete_list(asked.db, asked.account_id, asked.id("list_id"))


async def people(asked: Asked) -> Page[Contact]:
    """A list's contacts, newest first."""
    query: ContactQuery = asked.query
    held = await _held(asked)
    phone = None if query.number is None else await known_number(asked, query.number)
    found, total = await contacts.of_list(asked.db, held, phone=phone, number=query.page, size=query.per_page)
    return paged(asked, [_contact(one, asked) for one in found], total)


async def person(asked: Asked) -> Contact:
    """One contact."""
    return _contact(await _somebody(asked, await _held(asked)), asked)


async def change_person(asked: Asked) -> Contact:
    """Change a contact."""
    held = await _held(asked, lock=True)
    known = await _somebody(asked, held)
    before = {
        "number": known.phone,
        "extra": known.extra,
        "variables": known.variables,
        "timezone": known.timezone,
    }
    wanted = Person(**{**before, **given_fields(asked.body)})
    new = contact(wanted, await terms_of(asked), "")
    changed = await contacts.change(asked.db, held, known.contact_id, new)
    assert changed is not None
    return _contact(changed, asked)


async def delete_person(asked: Asked) -> None:
    """Take somebody off a list."""
    held = await _held(asked, lock=True)
    if not await contacts.delete(asked.db, held, asked.id("contact_id"), now=asked.now):
        raise errors.missing()


async def rejected(asked: Asked) -> Page[Rejected]:
    """Rows of uploads that became no contacts, in the order of their files."""
    query: PageQuery = asked.query
    held = await _held(asked)
    ids = asked.account_id, held.phone_list_id
    found = await phone_lists.rejects_page(asked.db, *ids, number=query.page, size=query.per_page)
    return paged(asked, told(asked, found), held.rejected)


def told(asked: Asked, found: Sequence[RejectedRow]) -> list[Rejected]:
    """Rejected rows in the language of the client."""
    russian = language_of(asked.request.headers.get("accept-language")) == "ru"
    return [
        Rejected(
            line=row.line, reason=row.reason, message=reasons.message(row, russian=russian), value=row.value
        )
        for row in found
    ]


async def _held(asked: Asked, *, lock: bool = False) -> ContactList:
    return await contacts.get_list(asked.db, asked.account_id, asked.id("list_id"), lock=lock)


async def _somebody(asked: Asked, held: ContactList) -> StoredContact:
    found = await contacts.get(asked.db, held, asked.id("contact_id"))
    if found is None:
        raise errors.missing()
    return found


async def _put_streamed(asked: Asked, held: ContactList, streamed: Streamed) -> None:
    while (batch := await asyncio.to_thread(streamed.batch)) is not None:
        await contacts.add(asked.db, asked.account_id, held.phone_list_id, batch.people, now=asked.now)


async def _put_table(asked: Asked, held: ContactList, file: BinaryIO) -> None:
    terms = await terms_of(asked)
    done = taken = 0
    first: list[RejectedRow] = []
    async with table_in(file) as opened:
        rows = await asyncio.to_thread(
            Table, opened, country=next(iter(terms.countries), ""), trial=terms.trial
        )
        # Lines of another upload to the same list have numbers already.
        before = await phone_lists.last_rejected(asked.db, asked.account_id, held.phone_list_id)
        while looked := await asyncio.to_thread(rows.batch, _ROWS):
            good, bad = await asyncio.to_thread(_judged, looked, terms.countries)
            bad = [msgspec.structs.replace(row, line=row.line + before) for row in bad]
            ids = asked.account_id, held.phone_list_id
            await contacts.add(asked.db, *ids, good, rejected=bad, now=asked.now)
            done += len(looked)
            taken += len(good)
            first = first or bad[:1]
            if done > MAX_INLINE:
                raise Unprocessable({"file": [TOO_MANY]})
    if done == 0:
        raise Unprocessable({"file": [Text("The file has no rows.", "В файле нет строк.")]})
    if taken == 0:
        en, ru = (reasons.message(first[0], russian=russian) for russian in (False, True))
        raise Unprocessable({"file": [Text(f"No row is a contact: {en}", f"В файле нет контактов: {ru}")]})


def _judged(
    looked: Sequence[Entry | RejectedRow], countries: Sequence[str]
) -> tuple[list[NewContact], list[RejectedRow]]:
    good: list[NewContact] = []
    bad: list[RejectedRow] = []
    for row in looked:
        if isinstance(row, RejectedRow):
            bad.append(row)
        elif (reason := _wrong(row, countries)) is not None:
            bad.append(table.rejected(row, reason))
        else:
            good.append(
                NewContact(
                    phone=row.phone,
                    extra=row.known.get("extra"),
                    variables=dict(row.variables) or None,
                    timezone=row.known.get("timezone"),
                )
            )
    return good, bad


def _wrong(row: Entry, countries: Sequence[str]) -> str | None:
    try:
        phones.check_destination(row.phone, countries=countries)
    except DestinationRefused:
        return "closed"
    if len(row.known.get("extra", "")) > _MAX_EXTRA:
        return "extra_invalid"
    if len(row.variables) > MAX_VARIABLES or any(len(text) > MAX_VALUE for text in row.variables.values()):
        return "variables_invalid"
    if (zone := row.known.get("timezone")) is not None:
        try:
            zone_of(zone)
        except SettingsInvalid:
            return "timezone_invalid"
    return None


def _list(held: ContactList, asked: Asked) -> PhoneList:
    return PhoneList(
        id=held.phone_list_id,
        name=held.name,
        contacts_count=held.loaded,
        rejected_count=held.rejected,
        created_at=local_time(held.created_at, asked.zone),
        updated_at=local_time(held.updated_at, asked.zone),
    )


def _contact(one: StoredContact, asked: Asked) -> Contact:
    return Contact(
        id=one.contact_id,
        list_id=one.phone_list_id,
        number=one.phone,
        extra=one.extra,
        variables=one.variables or {},
        timezone=one.timezone,
        created_at=local_time(one.created_at, asked.zone),
    )


FILE_SCHEMA = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {
            "type": "string",
            "format": "binary",
            "description": "CSV, XLSX, XLS or text. A header names the columns: phone, extra, timezone; every "
            "other one is a variable of that name. Without a header the number comes first.",
        },
        "name": {"type": "string", "minLength": 1, "maxLength": 200},
    },
}

_ONE = {"list_id": "{list_id}"}
_SOMEBODY = {"list_id": "{list_id}", "contact_id": "{contact_id}"}
_PEOPLE = [
    {"number": "+70001230001", "extra": "Анна", "variables": {"name": "Анна"}, "timezone": "Asia/Almaty"},
    {"number": "+70001230002", "variables": {"name": "Пётр"}},
]

OPERATIONS = (
    Operation(
        method="GET",
        path="/lists",
        tag=TAG,
        name="listLists",
        summary="List lists of contacts",
        handle=index,
        query=ListQuery,
        answer=Page[PhoneList],
        examples=(Example(name="all"),),
    ),
    Operation(
        method="POST",
        path="/lists",
        tag=TAG,
        name="createList",
        summary="Create a list of contacts",
        about="Rows of a file that are no contacts are left out, and told under /lists/{list_id}/rejected.",
        handle=create,
        status=201,
        forms={"application/json": NewListBody, "multipart/form-data": FILE_SCHEMA},
        answer=PhoneList,
        longest=MAX_LIST,
        examples=(Example(name="two people", body={"name": "Clients", "contacts": _PEOPLE}),),
    ),
    Operation(
        method="GET",
        path="/lists/{list_id}",
        tag=TAG,
        name="getList",
        summary="Read a list",
        handle=show,
        answer=PhoneList,
        examples=(Example(name="one", path=_ONE),),
    ),
    Operation(
        method="PATCH",
        path="/lists/{list_id}",
        tag=TAG,
        name="renameList",
        summary="Rename a list",
        handle=change,
        body=ListChange,
        answer=PhoneList,
        examples=(Example(name="one", path=_ONE, body={"name": "Old clients"}),),
    ),
    Operation(
        method="DELETE",
        path="/lists/{list_id}",
        tag=TAG,
        name="deleteList",
        summary="Delete a list",
        about="Calls that were made of it stay.",
        handle=delete,
        status=204,
        examples=(Example(name="one", path=_ONE),),
    ),
    Operation(
        method="GET",
        path="/lists/{list_id}/contacts",
        tag=TAG,
        name="listContacts",
        summary="List a list's contacts",
        handle=people,
        query=ContactQuery,
        answer=Page[Contact],
        examples=(
            Example(name="all", path=_ONE),
            Example(name="by number", path=_ONE, query={"number": "+70001230001"}),
        ),
    ),
    Operation(
        method="POST",
        path="/lists/{list_id}/contacts",
        tag=TAG,
        name="addContacts",
        summary="Add contacts",
        handle=add,
        status=201,
        forms={"application/json": MoreContactsBody, "multipart/form-data": FILE_SCHEMA},
        answer=PhoneList,
        longest=MAX_LIST,
        examples=(Example(name="two people", path=_ONE, body={"contacts": _PEOPLE}),),
    ),
    Operation(
        method="GET",
        path="/lists/{list_id}/contacts/{contact_id}",
        tag=TAG,
        name="getContact",
        summary="Read a contact",
        handle=person,
        answer=Contact,
        examples=(Example(name="one", path=_SOMEBODY),),
    ),
    Operation(
        method="PATCH",
        path="/lists/{list_id}/contacts/{contact_id}",
        tag=TAG,
        name="changeContact",
        summary="Change a contact",
        handle=change_person,
        body=ContactChange,
        answer=Contact,
        examples=(Example(name="moved", path=_SOMEBODY, body={"timezone": "Europe/Moscow"}),),
    ),
    Operation(
        method="DELETE",
        path="/lists/{list_id}/contacts/{contact_id}",
        tag=TAG,
        name="deleteContact",
        summary="Take a contact off a list",
        handle=delete_person,
        status=204,
        examples=(Example(name="one", path=_SOMEBODY),),
    ),
    Operation(
        method="GET",
        path="/lists/{list_id}/rejected",
        tag=TAG,
        name="listRejected",
        summary="List rows that became no contacts",
        handle=rejected,
        query=PageQuery,
        answer=Page[Rejected],
        examples=(Example(name="all", path=_ONE),),
    ),
)
