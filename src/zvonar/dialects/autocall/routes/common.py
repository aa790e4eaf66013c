"""What do several requests begin with? Things that the path names by id, and people who are to be called."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from zvonar.dialects.autocall import answers, errors
from zvonar.dialects.autocall.answers import Autocall, CampaignFact
from zvonar.dialects.autocall.errors import Unprocessable, wrong
from zvonar.dialects.autocall.operations import Asked
from zvonar.dialects.autocall.pages import Page, page
from zvonar.dialects.autocall.requests.fields import PageQuery
from zvonar.dialects.autocall.requests.people import Streamed, Terms
from zvonar.dialects.autocall.words import Text
from zvonar.store import campaign_facts, contacts, trunks
from zvonar.store.campaign_facts import Facts
from zvonar.store.contacts import ContactList, VariableMissing
from zvonar.store.phone_lists import PhoneListNotFound

NOBODY = Text("There is nobody to call.", "Некому звонить.")


async def terms_of(asked: Asked) -> Terms:
    """What numbers of this account are measured by."""
    return Terms(countries=asked.tenant.countries, trial=await trunks.has_trial(asked.db))


async def facts_of(asked: Asked, *, lock: bool = False) -> Facts:
    """The autocall that the path names. `lock`: nobody else changes it meanwhile. Raises CampaignNotFound."""
    autocall_id = asked.id("autocall_id")
    if lock:
        await campaign_facts.lock(asked.db, asked.account_id, autocall_id)
    facts = await campaign_facts.get(asked.db, asked.account_id, autocall_id)
    if facts.purpose is not None:
        raise errors.missing()
    return facts


async def put_people(asked: Asked, streamed: Streamed, *, name: str) -> list[int]:
    """The lists that a body names, in its order; whom it names itself are on a list of their own, as is said by its id.

    Raises Unprocessable.
    """
    found: list[int] = []
    own: ContactList | None = None
    while (batch := await asyncio.to_thread(streamed.batch)) is not None:
        for list_id in batch.lists:
            try:
                await contacts.get_list(asked.db, asked.account_id, list_id)
            except PhoneListNotFound:
                raise wrong("list_id", f"There is no list {list_id}.", f"Нет списка {list_id}.") from None
        found += batch.lists
        if batch.people:
            if own is None:
                own = await contacts.add_list(asked.db, asked.account_id, name=name, now=asked.now)
                found.append(own.phone_list_id)
            await contacts.add(asked.db, asked.account_id, own.phone_list_id, batch.people, now=asked.now)
    return list(dict.fromkeys(found))


async def call_lists(asked: Asked, campaign_id: int, lists: Sequence[int], needs: Sequence[str]) -> int:
    """Make calls of lists, and remember which. Raises Unprocessable where nobody is on them, or lacks a variable."""
    try:
        calls = await contacts.call(
            asked.db, asked.account_id, campaign_id, lists, needs=needs, now=asked.now
        )
    except PhoneListNotFound:
        raise wrong("list_id", "A list is gone.", "Списка больше нет.") from None
    except VariableMissing as exc:
        raise wrong(
            "list_id",
            f"{exc.contacts} contacts have no variable {exc.name}, which a text uses.",
            f"Переменной {exc.name}, которая есть в тексте, нет у контактов: {exc.contacts}.",
        ) from None
    if calls == 0:
        raise Unprocessable({"list_id": [NOBODY]})
    await campaign_facts.add_lists(asked.db, asked.account_id, campaign_id, lists)
    return calls


def paged(asked: Asked, items: Sequence[Any], total: int) -> Page[Any]:
    """Items as the page that was asked for."""
    query: PageQuery = asked.query
    url = asked.request.url
    return page(
        items,
        number=query.page,
        size=query.per_page,
        total=total,
        path=asked.base + url.path,
        query=url.query,
    )


def shown(kind: Any, facts: Any) -> Any:
    """Facts of the store as facts of an answer."""
    return msgspec.convert(msgspec.to_builtins(facts), kind, strict=False)


def autocall_of(facts: Facts) -> Autocall:
    """A campaign as the wire shows it."""
    return answers.autocall(shown(CampaignFact, facts))


def not_now(facts: Facts) -> Unprocessable:
    """Its status does not allow what was asked."""
    status = answers.autocall(shown(CampaignFact, facts)).status
    return Unprocessable({"status": [Text(f"The autocall is {status}.", f"Обзвон в статусе {status}.")]})


async def autocall_now(asked: Asked, campaign_id: int) -> Autocall:
    """A campaign as the wire shows it at this moment."""
    return autocall_of(await campaign_facts.get(asked.db, asked.account_id, campaign_id))
