"""Whom does an autocall call, what came of each, who comes in, who is taken out or held back?"""

import asyncio

from zvonar.core import phone as phones
from zvonar.core.campaign import CampaignStatus
from zvonar.core.errors import DestinationRefused, PhoneInvalid
from zvonar.dialects.autocall import answers, errors
from zvonar.dialects.autocall.answers import Autocall, Call, CallFact
from zvonar.dialects.autocall.errors import Unprocessable, required, wrong
from zvonar.dialects.autocall.limits import MAX_LIST
from zvonar.dialects.autocall.operations import Asked, Example, Operation
from zvonar.dialects.autocall.outcomes import keys_of
from zvonar.dialects.autocall.pages import Page
from zvonar.dialects.autocall.requests.autocalls import CallQuery, MoreCalls
from zvonar.dialects.autocall.requests.dates import day_begins, day_ends
from zvonar.dialects.autocall.requests.people import BAD_NUMBER, Streamed
from zvonar.dialects.autocall.routes.autocalls import needs_of
from zvonar.dialects.autocall.routes.common import (
    autocall_of,
    call_lists,
    facts_of,
    not_now,
    paged,
    put_people,
    shown,
    terms_of,
)
from zvonar.dialects.autocall.routes.cost import fix_cost
from zvonar.store import call_facts, campaign_facts, removing, trunks
from zvonar.store.call_facts import CallFacts, Which
from zvonar.store.campaign_facts import Facts

TAG = "calls"


async def index(asked: Asked) -> Page[Call]:
    """Calls, newest first."""
    facts = await facts_of(asked)
    query: CallQuery = asked.query
    which = Which(
        outcomes=None if query.status is None else keys_of([query.status]),
        phone=None if query.number is None else await known_number(asked, query.number),
        extra=query.extra,
        locked=query.lock,
        updated_from=day_begins(query.updated_from, asked.zone, "updated_from"),
        updated_till=day_ends(query.updated_to, asked.zone, "updated_to"),
    )
    found, total = await call_facts.page(
        asked.db, asked.account_id, facts.campaign_id, which, number=query.page, size=query.per_page
    )
    return paged(asked, [call_of(call, facts) for call in found], total)


async def show(asked: Asked) -> Call:
    """One call."""
    facts = await facts_of(asked)
    return call_of(await _call(asked, facts), facts)


async def add(asked: Asked) -> Autocall:
    """Call more people."""
    facts = await facts_of(asked, lock=True)
    if facts.status == CampaignStatus.cancelled:
        raise not_now(facts)
    streamed = Streamed(asked.file, "list_id", await terms_of(asked), lists=True)
    head = await asyncio.to_thread(streamed.head)
    if "list_id" not in head:
        raise Unprocessable({"list_id": [required("list_id")]})
    if head["list_id"] != []:
        raise wrong("list_id", "list_id must be an array.", "list_id должен быть массивом.")
    lists = await put_people(asked, streamed, name=facts.name)
    await call_lists(asked, facts.campaign_id, lists, needs_of(facts.settings))
    if facts.settings.grows:
        await fix_cost(asked.db, asked.account_id, facts.campaign_id, now=asked.now)
    return autocall_of(await campaign_facts.get(asked.db, asked.account_id, facts.campaign_id))


async def remove(asked: Asked) -> None:
    """Take a call out before it has ended."""
    facts = await facts_of(asked)
    call = await _call(asked, facts)
    removed = await removing.by_id(asked.db, asked.account_id, facts.campaign_id, call.call_id, now=asked.now)
    if removed.over:
        raise _over()


async def lock(asked: Asked) -> Call:
    """Hold a call back."""
    return await _locked(asked, locked=True)


async def unlock(asked: Asked) -> Call:
    """Let a call go."""
    return await _locked(asked, locked=False)


async def _locked(asked: Asked, *, locked: bool) -> Call:
    facts = await facts_of(asked)
    call = await _call(asked, facts)
    ids = asked.account_id, facts.campaign_id, call.call_id
    if not await call_facts.lock(asked.db, *ids, locked=locked, now=asked.now):
        raise _over()
    return call_of(await _call(asked, facts), facts)


async def _call(asked: Asked, facts: Facts) -> CallFacts:
    found = await call_facts.get(asked.db, asked.account_id, facts.campaign_id, asked.id("call_id"))
    if found is None:
        raise errors.missing()
    return found


def _over() -> Unprocessable:
    return wrong("call_id", "The call has ended already.", "Звонок уже завершён.")


async def known_number(asked: Asked, written: str) -> str:
    """The E.164 number that somebody asks about. Raises Unprocessable."""
    country = next(iter(asked.tenant.countries), "")
    try:
        return phones.parse(written, country=country, trial=await trunks.has_trial(asked.db)).e164
    except (PhoneInvalid, DestinationRefused):
        raise Unprocessable({"number": [BAD_NUMBER]}) from None


def call_of(call: CallFacts, facts: Facts) -> Call:
    """A call as the wire shows it."""
    fields = {name: getattr(call, name) for name in call.__struct_fields__}
    fact = shown(CallFact, {**fields, "timezone": facts.timezone})
    return answers.call(fact)


_ONE = {"autocall_id": "{autocall_id}"}
_CALL = {"autocall_id": "{autocall_id}", "call_id": "{call_id}"}

OPERATIONS = (
    Operation(
        method="GET",
        path="/autocalls/{autocall_id}/calls",
        tag=TAG,
        name="listCalls",
        summary="List an autocall's calls",
        handle=index,
        query=CallQuery,
        answer=Page[Call],
        examples=(
            Example(name="all", path=_ONE),
            Example(
                name="by status and number", path=_ONE, query={"status": "awaiting", "number": "+70001230001"}
            ),
        ),
    ),
    Operation(
        method="POST",
        path="/autocalls/{autocall_id}/calls",
        tag=TAG,
        name="addCalls",
        summary="Add calls",
        about="Also to an autocall that runs; a completed one runs again. `list_id` is as of a new autocall.",
        handle=add,
        status=201,
        forms={"application/json": MoreCalls},
        answer=Autocall,
        refusals=(402,),
        longest=MAX_LIST,
        examples=(
            Example(
                name="one more",
                path=_ONE,
                body={"list_id": [{"number": "+70001230002", "variables": {"name": "Пётр"}}]},
            ),
        ),
    ),
    Operation(
        method="GET",
        path="/autocalls/{autocall_id}/calls/{call_id}",
        tag=TAG,
        name="getCall",
        summary="Read a call",
        handle=show,
        answer=Call,
        examples=(Example(name="one", path=_CALL),),
    ),
    Operation(
        method="DELETE",
        path="/autocalls/{autocall_id}/calls/{call_id}",
        tag=TAG,
        name="removeCall",
        summary="Remove a call",
        about="A call that is up ends by itself and is not tried again.",
        handle=remove,
        status=204,
        refusals=(422,),
        examples=(Example(name="one", path=_CALL),),
    ),
    Operation(
        method="POST",
        path="/autocalls/{autocall_id}/calls/{call_id}/lock",
        tag=TAG,
        name="lockCall",
        summary="Hold a call back",
        about="It is not dialled until it is unlocked; a try that is under way goes on.",
        handle=lock,
        answer=Call,
        examples=(Example(name="one", path=_CALL),),
    ),
    Operation(
        method="POST",
        path="/autocalls/{autocall_id}/calls/{call_id}/unlock",
        tag=TAG,
        name="unlockCall",
        summary="Let a call go",
        handle=unlock,
        answer=Call,
        examples=(Example(name="one", path=_CALL),),
    ),
)
