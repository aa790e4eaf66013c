"""Does every campaign type ask, dictate, ring and wait as it should? On the fake gateway and a real PostgreSQL."""

import asyncio
from typing import Any

import pytest

from zvonar.core.campaign import CampaignType
from zvonar.core.inbound import Greeting
from zvonar.core.machine import MachineDetection, OnMachine, Verdict
from zvonar.core.reaction import Reaction, ReactionOverride, Sms, Transfer
from zvonar.core.script import Node, Prompt, Script, plain
from zvonar.core.verification import Flash, Incoming, Pin
from zvonar.line.fake import FakeGateway, FakeLine
from zvonar.store import dids
from zvonar.store.calls import Call
from zvonar.store.db import Database

from .test_engine import exchange
from .world import ASK, DEADLINE, World, dialling, now, town, until

pytestmark = pytest.mark.asyncio
QUICK = Pin(timeout=0.5, between=0.5, tries=2)
OURS = "+70009990001"


async def dialled(db: Database, type: CampaignType, phone: str, *, code: str | None, **settings: Any) -> Call:
    """One call of a type, to its end, with every law held."""
    gateway, world = exchange(), await World(db).settle()
    plain_settings = {"script": None, "pin": QUICK, "flash": Flash(rings=0.3)}
    made = await world.campaign(type=type, **{**plain_settings, **settings}, running=True)
    await world.add(phone, made, **({} if code is None else {"code": code}))
    async with dialling(db, gateway):
        await world.completed()
        await world.check_laws(dict(gateway.invites))
    (call,) = await world.calls()
    return call


def result(call: Call) -> str:
    return f"{call.disposition}/{call.script_result}/{call.call_end}"


@pytest.mark.parametrize(
    ("digit", "code", "came_to"),
    [
        (9, "1234", "answered/pin_ok/success"),
        (9, "4321", "answered/pin_wrong/unsuccessful"),
        (9, "12345", "answered/pin_wrong/unsuccessful"),
        (0, "1234", "answered/no_input/attempts_exhausted"),
        (2, "1234", "busy/none/attempts_exhausted"),
    ],
)
async def test_a_pin_is_right_wrong_or_missing(db: Database, digit: int, code: str, came_to: str) -> None:
    call = await dialled(db, CampaignType.pincode, town(digit), code=code)
    assert result(call) == came_to
    assert call.choice is None


@pytest.mark.parametrize(
    ("digit", "code", "came_to"),
    [
        (1, None, "answered/pin_ok/success"),
        (1, "1", "answered/pin_ok/success"),
        (1, "2", "answered/pin_wrong/unsuccessful"),
        (0, None, "answered/no_input/attempts_exhausted"),
    ],
)
async def test_one_key_confirms(db: Database, digit: int, code: str | None, came_to: str) -> None:
    assert result(await dialled(db, CampaignType.pincode_short, town(digit), code=code)) == came_to


async def test_a_code_is_dictated_digit_by_digit_and_repeated(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle()
    made = await world.campaign(type=CampaignType.tellcode, script=None)
    await world.add(town(0), made, code="4071")
    async with dialling(db, gateway):
        await world.completed()
        await world.check_laws(dict(gateway.invites))
    (call,) = await world.calls()
    assert result(call) == "answered/completed/success"
    assert len(gateway.made[0].clips) == 2 * (1 + 4)


@pytest.mark.parametrize(
    ("digit", "came_to"), [(3, "cancelled/completed"), (2, "busy/none"), (4, "invalid_number/none")]
)
async def test_a_flashcall_rings_and_is_cancelled(db: Database, digit: int, came_to: str) -> None:
    call = await dialled(db, CampaignType.flashcall, town(digit), code="0421")
    assert f"{call.disposition}/{call.script_result}" == came_to
    assert call.cost == 0
    assert await db.value("SELECT caller_id FROM legs") == "+70009990421"


async def test_who_answers_a_flashcall_is_hung_up_at_once_and_has_seen_the_code(db: Database) -> None:
    call = await dialled(db, CampaignType.flashcall, town(0), code="0421", flash=Flash(rings=5))
    assert result(call) == "answered/completed/success"
    assert call.talk_seconds == 1


async def test_a_flashcall_without_a_number_that_ends_so_has_no_caller_id(db: Database) -> None:
    call = await dialled(db, CampaignType.flashcall, town(0), code="0421", caller_ids=("+70009991111",))
    assert (call.disposition, call.attempts) == ("no_route", 1)
    assert await db.value("SELECT cause FROM attempts") == "no_caller_id"


async def test_nobody_is_called_from_his_own_number(db: Database) -> None:
    phone = town(0)
    call = await dialled(db, CampaignType.regular, phone, code=None, script=plain(ASK), caller_ids=(phone,))
    assert (call.state, call.disposition) == ("blocked", "blocked")
    assert await db.value("SELECT cause FROM attempts") == "own_number"


async def test_the_other_number_is_shown_to_whom_the_first_belongs(db: Database) -> None:
    phone = town(0)
    call = await dialled(
        db, CampaignType.regular, phone, code=None, script=plain(ASK), caller_ids=(phone, OURS)
    )
    assert call.call_end == "success"
    assert await db.value("SELECT caller_id FROM legs") == OURS


async def test_a_number_that_another_call_has_is_a_duplicate(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle()
    phone = town(0)
    made = await world.campaign([phone, phone], script=plain(ASK), unique_phones=True)
    async with dialling(db, gateway):
        await world.completed()
        await world.check_laws(dict(gateway.invites))
    first, second = sorted(await world.calls(made), key=lambda call: call.call_id)
    assert (first.call_end, second.state) == ("success", "blocked")
    assert await world.causes() == ["duplicate", None] or set(await world.causes()) == {None, "duplicate"}


@pytest.mark.parametrize(
    ("settings", "cause", "call_end"),
    [
        ({"min_talk": 3}, "too_short_talk", "attempts_exhausted"),
        ({"long_talk": 1}, "long_talk", "success"),
        ({"min_talk": 1, "long_talk": 20}, None, "success"),
    ],
)
async def test_how_long_somebody_talked_is_an_event(
    db: Database, settings: dict[str, int], cause: str | None, call_end: str
) -> None:
    call = await dialled(db, CampaignType.regular, town(0), code=None, script=plain(ASK), **settings)
    assert call.call_end == call_end
    assert await db.value("SELECT cause FROM attempts") == cause


async def test_what_follows_silence_is_an_action_without_a_key(db: Database) -> None:
    node = Node(
        prompt=ASK, keys={"1": Reaction()}, repeats=0, timeout=0.5, silence=Reaction(status_name="shy")
    )
    call = await dialled(db, CampaignType.regular, town(0), code=None, script=Script(nodes={"1": node}))
    assert (call.script_result, call.status_name, call.call_end) == ("no_input", "shy", "success")
    assert await db.value("SELECT cause FROM attempts") == "without_press"


@pytest.mark.parametrize(
    ("on_machine", "came_to", "clips"),
    [
        (OnMachine.hang_up, "answered/machine/attempts_exhausted", 0),
        (OnMachine.after_beep, "answered/machine/attempts_exhausted", 1),
        (OnMachine.go_on, "answered/completed/success", 1),
    ],
)
async def test_a_machine_is_treated_as_the_campaign_says(
    db: Database, monkeypatch: pytest.MonkeyPatch, on_machine: OnMachine, came_to: str, clips: int
) -> None:
    monkeypatch.setattr("zvonar.line.fake.GREETING_SECONDS", 0.2)
    gateway, world = exchange(), await World(db).settle()
    machine = MachineDetection(on_machine=on_machine, greeting=100)
    await world.campaign([town(5)], script=plain(ASK), machine=machine)
    async with dialling(db, gateway):
        await world.completed()
        await world.check_laws(dict(gateway.invites))
    (call,) = await world.calls()
    assert result(call) == came_to
    assert len(gateway.made[0].clips) == clips
    assert await db.value("SELECT facts -> 'machine' ->> 'verdict' FROM attempts") == "machine"


@pytest.mark.parametrize("verdict", [Verdict.human, Verdict.unknown])
async def test_whoever_is_no_machine_is_spoken_to_and_the_verdict_is_kept(
    db: Database, verdict: Verdict
) -> None:
    gateway, world = exchange(), await World(db).settle()
    gateway.machines = {"0": verdict}
    await world.campaign([town(0)], script=plain(ASK), machine=MachineDetection(greeting=100))
    async with dialling(db, gateway):
        await world.completed()
    (call,) = await world.calls()
    assert result(call) == "answered/completed/success"
    assert await db.value("SELECT facts -> 'machine' ->> 'verdict' FROM attempts") == verdict


# Reactions.


async def test_a_key_sets_off_a_message_as_this_call_has_it(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle()
    script = Script(nodes={"1": Node(prompt=ASK, keys={"1": Reaction(sms=Sms(text="campaign's"))})})
    made = await world.campaign(script=script)
    own = ReactionOverride(node="1", choice="1", sms_text="mine", status_name="own")
    call_id = await world.add(town(1), made, reactions=(own,))
    async with dialling(db, gateway):
        await world.completed()
    (call,) = await world.calls()
    assert (call.script_result, call.status_name) == ("choice", "own")
    told = await db.value("SELECT payload FROM outbox WHERE kind = 'reaction'")
    assert (told["call_id"], told["number"], told["choice"]) == (call_id, 1, "1")
    assert told["reaction"]["sms"]["text"] == "mine"


def transferring(to: Transfer) -> Script:
    return Script(
        nodes={
            "1": Node(prompt=ASK, keys={"1": Reaction(transfer=to)}),
            **({"2": Node(prompt=Prompt(text="nobody"))} if to.failed else {}),
        }
    )


async def put_through(db: Database, target: int, **settings: Any) -> tuple[Call, dict[str, Any], FakeGateway]:
    gateway, world = exchange(), await World(db).settle()
    to = Transfer(phone=town(target), ring_timeout=5)
    await world.campaign([town(1)], script=transferring(to), **settings)
    async with dialling(db, gateway):
        await world.completed()
        await world.check_laws(dict(gateway.invites))
    (call,) = await world.calls()
    return call, (await db.value("SELECT facts FROM attempts"))["transfers"][0], gateway


async def test_a_transfer_joins_two_lines_and_costs_both(db: Database) -> None:
    call, told, gateway = await put_through(db, 7, record=True)
    assert result(call) == "answered/transferred/success"
    assert call.choice == "1"
    first, second = gateway.made
    assert first.joined is second
    assert second.recorded
    assert (told["disposition"], told["leg"]) == ("answered", str(second.leg))
    assert told["talk_seconds"] >= 1
    assert first.tones == [True, False]
    assert await db.value("SELECT count(*) FROM ledger WHERE kind = 'charge'") == 2


@pytest.mark.parametrize(
    ("target", "disposition"), [(2, "busy"), (4, "invalid_number"), (6, "congestion"), (3, "no_answer")]
)
async def test_a_target_that_is_not_reached_leaves_the_choice(
    db: Database, target: int, disposition: str
) -> None:
    call, told, gateway = await put_through(db, target)
    assert result(call) == "answered/choice/success"
    assert told["disposition"] == disposition
    assert gateway.made[0].joined is None


async def test_a_transfer_that_failed_goes_on_where_the_script_says(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle()
    await world.campaign([town(1)], script=transferring(Transfer(phone=town(2), failed="2")))
    async with dialling(db, gateway):
        await world.completed()
        await world.check_laws(dict(gateway.invites))
    assert len(gateway.made[0].clips) == 2


async def test_a_caller_who_hangs_up_while_it_rings_takes_the_second_leg_along(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle()
    await world.campaign([town(1)], script=transferring(Transfer(phone=town(3), ring_timeout=30)))
    async with dialling(db, gateway):

        async def rings() -> bool:
            return len(gateway.made) == 2 and gateway.invites.total() == 2

        await until(rings)
        gateway.made[0].finish(ended(gateway))
        await world.completed()
        await world.check_laws(dict(gateway.invites))
    (call,) = await world.calls()
    assert result(call) == "answered/choice/success"
    (told,) = (await db.value("SELECT facts FROM attempts"))["transfers"]
    assert told["disposition"] == "cancelled"
    assert await gateway.alive() == []


async def test_both_hang_up_at_once(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle()
    await world.campaign([town(1)], script=transferring(Transfer(phone=town(0))))
    async with dialling(db, gateway):

        async def joined() -> bool:
            return len(gateway.made) == 2 and gateway.made[0].joined is not None

        await until(joined)
        for line in gateway.made:
            line.finish(ended(gateway))
        await world.completed()
        await world.check_laws(dict(gateway.invites))
    (call,) = await world.calls()
    assert result(call) == "answered/transferred/success"


async def test_a_transfer_without_money_for_it_is_none(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle(balance="1.5")
    await world.campaign([town(1)], script=transferring(Transfer(phone=town(0))), max_call_time=30)
    async with dialling(db, gateway):
        await world.completed()
        await world.check_laws(dict(gateway.invites))
    (told,) = (await db.value("SELECT facts FROM attempts"))["transfers"]
    assert told["disposition"] == "no_money"
    assert len(gateway.made) == 1


async def test_nobody_is_put_through_to_a_stopped_or_closed_number(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle()
    await world.campaign([town(1)], script=transferring(Transfer(phone="+18005550123")))
    async with dialling(db, gateway):
        await world.completed()
        await world.check_laws(dict(gateway.invites))
    (told,) = (await db.value("SELECT facts FROM attempts"))["transfers"]
    assert told["disposition"] == "blocked"


async def test_max_call_time_ends_a_conversation_with_both_legs(db: Database) -> None:
    call, told, gateway = await put_through(db, 0, max_call_time=2)
    assert result(call) == "answered/transferred/success"
    assert told["disposition"] == "answered"
    assert await gateway.alive() == []


# Calls that come in.


def ended(gateway: FakeGateway) -> Any:
    from zvonar.line.line import LineEnd

    return LineEnd(at=gateway.now(), hangup_cause=16)


async def over(line: FakeLine) -> None:
    async with asyncio.timeout(DEADLINE):
        await line.end()


async def incoming(db: Database, gateway: FakeGateway, *, code: str | None = None, **settings: Any) -> World:
    world = await World(db).settle()
    made = await world.campaign(
        type=CampaignType.pincode_incoming,
        script=None,
        pin=QUICK,
        **{"incoming_numbers": (OURS,), **settings},
    )
    await world.add(town(0), made, **({} if code is None else {"code": code}))
    return world


@pytest.mark.parametrize("written", ["{}", "8{tail}", "7{tail}"])
async def test_a_subscriber_is_known_by_his_number_however_it_is_written(db: Database, written: str) -> None:
    gateway = exchange()
    world = await incoming(db, gateway)
    (call,) = await world.calls()
    async with dialling(db, gateway):
        line = gateway.arrive(written.format(call.phone, tail=call.phone[2:]), OURS.removeprefix("+"))
        await over(line)
        assert line.answered_at is None
        await world.completed()
    (call,) = await world.calls()
    assert result(call) == "answered/pin_ok/success"
    assert call.cost == 0
    assert await db.value("SELECT facts ->> 'direction' FROM attempts") == "in"
    assert await db.value("SELECT coalesce(sum(in_use), 0)::int FROM trunks") == 0


async def test_where_the_campaign_says_so_the_subscriber_is_answered(db: Database) -> None:
    gateway = exchange()
    world = await incoming(db, gateway, incoming=Incoming(answer=True))
    (call,) = await world.calls()
    async with dialling(db, gateway):
        line = gateway.arrive(call.phone, OURS)
        await over(line)
        assert line.answered_at is not None
        assert len(line.clips) == 1
        await world.completed()
    assert result((await world.calls())[0]) == "answered/pin_ok/success"


@pytest.mark.parametrize(
    ("keys", "came_to"),
    [("4321#", "answered/pin_ok/success"), ("1111", "answered/pin_wrong/unsuccessful")],
)
async def test_where_there_is_a_code_the_subscriber_enters_it(db: Database, keys: str, came_to: str) -> None:
    gateway = exchange()
    world = await incoming(db, gateway, code="4321")
    (call,) = await world.calls()
    async with dialling(db, gateway):
        line = gateway.arrive(call.phone, OURS)
        line.press(keys)
        await over(line)
        await world.completed()
    assert result((await world.calls())[0]) == came_to


async def test_a_subscriber_who_hangs_up_may_call_again(db: Database) -> None:
    gateway = exchange()
    world = await incoming(db, gateway, code="4321")
    (call,) = await world.calls()
    async with dialling(db, gateway):
        line = gateway.arrive(call.phone, OURS)
        async with asyncio.timeout(DEADLINE):
            await line.answered()
        line.finish(ended(gateway))

        async def waits() -> bool:
            return (await world.calls())[0].state == "waiting"

        await until(waits)
        again = gateway.arrive(call.phone, OURS)
        again.press("4321#")
        await world.completed()
    (call,) = await world.calls()
    assert (result(call), call.attempts) == ("answered/pin_ok/success", 2)


@pytest.mark.parametrize(("code", "came_to"), [(None, "answered/pin_ok/success"), ("4321", "lost/none/None")])
async def test_a_subscriber_who_was_on_the_line_when_his_dialer_died_has_called(
    db: Database, code: str | None, came_to: str
) -> None:
    gateway = exchange()
    world = await incoming(db, gateway, code=code, incoming=Incoming(answer=True))
    (call,) = await world.calls()
    gateway.durations["clip.wav"] = 60
    async with dialling(db, gateway, drain=0.1):
        line = gateway.arrive(call.phone, OURS)
        async with asyncio.timeout(DEADLINE):
            await line.answered()
    assert line.ended is None
    async with dialling(db, gateway):
        # Whoever has yet to enter his code may call again.
        assert (await world.calls())[0].state == ("waiting" if code else "finished")
    (call,) = await world.calls()
    assert (result(call), line.ended is not None) == (came_to, True)
    assert await db.value("SELECT sum(in_use) FROM trunks") == 0


async def test_a_call_of_a_stranger_is_told_whole_when_its_dialer_died(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle()
    await dids.put(db, world.account.account_id, OURS, Greeting(prompt=ASK), now=now())
    gateway.durations["clip.wav"] = 60
    async with dialling(db, gateway, drain=0.1):
        line = gateway.arrive(caller := town(0), OURS)
        async with asyncio.timeout(DEADLINE):
            await line.answered()
    async with dialling(db, gateway):
        told = await db.value("SELECT payload FROM outbox WHERE kind = 'inbound'")
    assert (told["phone"], told["own_phone"], told["disposition"]) == (caller, OURS, "answered")
    assert await db.value("SELECT facts ->> 'contact_phone' FROM ended_sessions") == caller


async def test_a_call_that_nobody_confirms_expires(db: Database) -> None:
    gateway = exchange()
    world = await World(db).settle()
    made = await world.campaign(
        type=CampaignType.pincode_incoming, script=None, incoming=Incoming(wait=10), incoming_numbers=(OURS,)
    )
    await world.add(town(0), made)
    assert await db.value("SELECT expires_at - created_at = interval '10 seconds' FROM calls")
    await db.execute("UPDATE calls SET expires_at = now() - interval '1 second'")
    async with dialling(db, gateway):
        await world.completed()
    assert (await world.calls())[0].state == "expired"


@pytest.mark.parametrize(
    ("caller", "called"), [("+70000000010", OURS), ("{}", "+70009990002"), ("anonymous", OURS)]
)
async def test_a_stranger_confirms_nothing(db: Database, caller: str, called: str) -> None:
    gateway = exchange()
    world = await incoming(db, gateway)
    (call,) = await world.calls()
    async with dialling(db, gateway):
        line = gateway.arrive(caller.format(call.phone), called)
        await over(line)
    assert line.answered_at is None
    assert line.ended is not None
    assert line.ended.hangup_cause == 1
    assert (await world.calls())[0].state == "queued"
    assert await db.value("SELECT count(*) FROM ended_sessions") == 0


async def test_a_call_to_a_number_of_the_account_is_a_session_without_a_campaign(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle()
    greeting = Greeting(prompt=ASK)
    await dids.put(db, world.account.account_id, OURS, greeting, now=now())
    async with dialling(db, gateway):
        line = gateway.arrive(town(0), OURS)
        await over(line)
    assert line.answered_at is not None
    told = await db.value("SELECT payload FROM outbox WHERE kind = 'inbound'")
    assert (told["own_phone"], told["disposition"], told["call_id"]) == (OURS, "answered", None)
    assert told["session_id"] == await db.value(
        "SELECT session_id FROM ended_sessions WHERE facts ->> 'direction' = 'in'"
    )
    assert await db.value(
        "SELECT call_id IS NULL AND facts ->> 'disposition' = 'answered' FROM ended_sessions"
    )
    assert await db.value("SELECT coalesce(sum(in_use), 0)::int FROM trunks") == 0


async def test_who_calls_back_a_number_that_we_have_shown_is_told_apart(db: Database) -> None:
    gateway, world = exchange(), await World(db).settle()
    phone = town(2)
    await world.campaign([phone], script=plain(ASK), caller_ids=(OURS,))
    async with dialling(db, gateway):
        await world.completed()
        line = gateway.arrive(phone, OURS)
        await over(line)
    (call,) = await world.calls()
    told = await db.value("SELECT payload FROM outbox WHERE kind = 'inbound'")
    assert (told["call_id"], told["campaign_id"], told["attempt"]) == (call.call_id, call.campaign_id, 1)
    assert told["phone"] == phone
    assert await db.value("SELECT recalled_at IS NOT NULL FROM calls")
