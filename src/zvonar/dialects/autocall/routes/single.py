"""How is one number called outside of autocalls? Flash calls, whose caller ID ends in a code, and test calls."""

import secrets
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from zvonar.core import pool
from zvonar.core.campaign import CallOverrides, CampaignSettings, CampaignType
from zvonar.core.errors import NoMoney, NotFound
from zvonar.core.retry import RetryPolicy
from zvonar.core.schedule import ALL_DAY
from zvonar.dialects.autocall import errors, limits
from zvonar.dialects.autocall.answers import Call
from zvonar.dialects.autocall.errors import Problem, Unprocessable, wrong
from zvonar.dialects.autocall.operations import Asked, Example, Operation
from zvonar.dialects.autocall.outcomes import CallStatus
from zvonar.dialects.autocall.requests.autocalls import Audio, AutocallFields
from zvonar.dialects.autocall.requests.fields import Id, Number
from zvonar.dialects.autocall.requests.people import Person, contact
from zvonar.dialects.autocall.routes.autocalls import needs_of
from zvonar.dialects.autocall.routes.calls import call_of
from zvonar.dialects.autocall.routes.common import terms_of
from zvonar.dialects.autocall.routes.sounds import heard
from zvonar.dialects.autocall.words import Text
from zvonar.store import call_facts, calls, campaign_facts, own_campaigns, trunks
from zvonar.store import limits as rates
from zvonar.store.calls import NewCall

TAG = "single calls"
MAX_CODE: Final = 8

NO_CALLER_IDS = Text("There are no numbers to call from.", "Нет номеров, с которых звонить.")
NO_SUCH_NUMBER = Text(
    "No number to call from ends with this code.", "Нет исходящего номера с таким окончанием."
)


class NewFlashCall(Struct, frozen=True, kw_only=True):
    """A number that rings from one which ends in a code."""

    number: Number
    digits: Annotated[int, Meta(ge=4, le=MAX_CODE)] = 4  # of a code that is drawn
    code: Annotated[str, Meta(pattern=r"^\d{4,8}$", examples=["0421"])] | None = None  # your own


class FlashCall(Struct, frozen=True, kw_only=True):
    """A flash call that was accepted."""

    id: int
    code: str
    number: str  # E.164 with the plus


class FlashCallState(Struct, frozen=True, kw_only=True):
    """What became of a flash call."""

    id: int
    code: str
    number: str
    status: CallStatus
    tries: int
    created_at: str
    updated_at: str


class NewTestCall(Struct, frozen=True, kw_only=True):
    """What to hear on one's own telephone: audio, a scenario, or what an autocall says; one of them."""

    number: Number
    audio_id: Annotated[list[Audio], Meta(max_length=1)] = []
    scenario_id: Id | None = None
    autocall_id: Id | None = None
    variables: dict[str, Annotated[str, Meta(max_length=500)]] = {}  # for texts with {{name}}


async def flash(asked: Asked) -> FlashCall:
    """Accept a flash call."""
    wanted: NewFlashCall = asked.body
    called = contact(Person(number=wanted.number), await terms_of(asked), "").phone
    if asked.tenant.balance <= 0:
        raise NoMoney
    callers = await trunks.caller_ids(asked.db, asked.account_id, trial=called.trial)
    code = wanted.code or pool.drawn(callers, wanted.digits, secrets.randbelow)
    if code is None:
        raise Unprocessable({"number": [NO_CALLER_IDS]})
    if not pool.ends_with(callers, code):
        raise Unprocessable({"code": [NO_SUCH_NUMBER]})
    campaign_id = await own_campaigns.the_one(
        asked.db,
        asked.account_id,
        own_campaigns.FLASH_CALLS,
        type=CampaignType.flashcall,
        settings=CampaignSettings(window=ALL_DAY, open_ended=True, allow_duplicates=True),
        now=asked.now,
    )
    new = NewCall(phone=called, overrides=CallOverrides(code=code).checked())
    call_id = await calls.add(asked.db, asked.account_id, campaign_id, new, now=asked.now)
    return FlashCall(id=call_id, code=code, number=called.e164)


async def flash_state(asked: Asked) -> FlashCallState:
    """What became of a flash call."""
    call, found = await _called(asked, own_campaigns.FLASH_CALLS)
    return FlashCallState(
        id=call.id,
        code=(found.overrides or {}).get("code", ""),
        number=call.number,
        status=call.status,
        tries=call.tries,
        created_at=call.created_at,
        updated_at=call.updated_at,
    )


async def test(asked: Asked) -> Call:
    """Call one's own number once, now."""
    wanted: NewTestCall = asked.body
    called = contact(Person(number=wanted.number), await terms_of(asked), "").phone
    settings = await _heard(asked, wanted)
    if missing := [name for name in needs_of(settings) if not wanted.variables.get(name)]:
        raise Unprocessable({f"variables.{name}": [errors.required(f"variables.{name}")] for name in missing})
    key = rates.key_hash(asked.account_id, called.e164)
    if not await rates.take(asked.db, limits.TEST_CALLS, key, now=asked.now):
        raise Problem(429, errors.TOO_MANY, headers={"Retry-After": "3600"})
    if asked.tenant.balance <= 0:
        raise NoMoney
    campaign_id = await own_campaigns.add(
        asked.db,
        asked.account_id,
        own_campaigns.TEST_CALL,
        type=CampaignType.regular,
        settings=settings,
        now=asked.now,
    )
    overrides = CallOverrides(variables=wanted.variables).checked() if wanted.variables else None
    new = NewCall(phone=called, extra="test", overrides=overrides)
    call_id = await calls.add(asked.db, asked.account_id, campaign_id, new, now=asked.now)
    facts = await campaign_facts.get(asked.db, asked.account_id, campaign_id)
    found = await call_facts.get(asked.db, asked.account_id, campaign_id, call_id)
    assert found is not None
    return call_of(found, facts)


async def test_state(asked: Asked) -> Call:
    """What became of a test call."""
    call, _ = await _called(asked, own_campaigns.TEST_CALL)
    return call


async def _called(asked: Asked, purpose: str) -> tuple[Call, call_facts.CallFacts]:
    call_id = asked.id("call_id")
    campaign_id = await own_campaigns.campaign_of(asked.db, asked.account_id, call_id, purpose)
    if campaign_id is None:
        raise errors.missing()
    facts = await campaign_facts.get(asked.db, asked.account_id, campaign_id)
    found = await call_facts.get(asked.db, asked.account_id, campaign_id, call_id)
    assert found is not None
    return call_of(found, facts), found


async def _heard(asked: Asked, wanted: NewTestCall) -> CampaignSettings:
    """What the test call says: once, at any hour, without telling anybody else."""
    given = [wanted.audio_id, wanted.scenario_id, wanted.autocall_id]
    if sum(bool(one) for one in given) != 1:
        raise wrong(
            "audio_id",
            "Give one of audio_id, scenario_id and autocall_id.",
            "Укажите одно из audio_id, scenario_id и autocall_id.",
        )
    if wanted.autocall_id is not None:
        try:
            before = (await campaign_facts.get(asked.db, asked.account_id, wanted.autocall_id)).settings
        except NotFound:
            raise wrong("autocall_id", "There is no such autocall.", "Нет такого обзвона.") from None
    else:
        fields = AutocallFields(audio_id=wanted.audio_id, scenario_id=wanted.scenario_id)
        before = msgspec.structs.replace(CampaignSettings(), **await heard(asked, fields))
    changes: dict[str, Any] = {
        "window": ALL_DAY,
        "retry": RetryPolicy(max_attempts=1),
        "max_cost": None,
        "callback_url": None,
        "postback": None,
        "open_ended": False,
    }
    return msgspec.structs.replace(before, **changes)


OPERATIONS = (
    Operation(
        method="POST",
        path="/flash-calls",
        tag=TAG,
        name="createFlashCall",
        summary="Ring a number from one that ends in a code",
        handle=flash,
        status=201,
        body=NewFlashCall,
        answer=FlashCall,
        refusals=(402,),
        examples=(
            Example(name="a drawn code", body={"number": "+70001230001", "digits": 4}),
            Example(name="your own code", body={"number": "+70001230001", "code": "0421"}),
        ),
    ),
    Operation(
        method="GET",
        path="/flash-calls/{call_id}",
        tag=TAG,
        name="getFlashCall",
        summary="Read what became of a flash call",
        handle=flash_state,
        answer=FlashCallState,
        examples=(Example(name="one", path={"call_id": "{flash_call_id}"}),),
    ),
    Operation(
        method="POST",
        path="/test-calls",
        tag=TAG,
        name="createTestCall",
        summary="Call your own number once, now",
        about="At any hour, without retries and callbacks; five a day to one number.",
        handle=test,
        status=201,
        body=NewTestCall,
        answer=Call,
        refusals=(402,),
        examples=(
            Example(
                name="a text", body={"number": "+70001230000", "audio_id": [{"data": {"text": "Проверка"}}]}
            ),
        ),
    ),
    Operation(
        method="GET",
        path="/test-calls/{call_id}",
        tag=TAG,
        name="getTestCall",
        summary="Read what became of a test call",
        handle=test_state,
        answer=Call,
        examples=(Example(name="one", path={"call_id": "{test_call_id}"}),),
    ),
)
