"""Does a script do what it says, to the millisecond? On the fake line, in virtual time."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import Struct

from zvonar.core.leg import LegId
from zvonar.core.result import ScriptResult
from zvonar.core.script import Node, Prompt, Reaction, Script, ScriptReport, Step
from zvonar.dialer.run import MAX_STEPS, run
from zvonar.line.fake import FakeGateway, FakeLine
from zvonar.line.line import Dialled, GatewayRefused, LineEnd

from . import virtual

ASK, MORE, THANKS = Prompt(text="ask"), Prompt(text="more"), Prompt(text="thanks")
SECONDS = {ASK: 4.0, MORE: 3.0, THANKS: 1.5}
CLIPS = {prompt: Path(f"{prompt.text}.wav") for prompt in SECONDS}
LISTENER = "+70000001000"  # presses nothing by herself
At = float  # seconds after the answer


class Heard(Struct, frozen=True):
    """What came of a script, and when."""

    report: ScriptReport
    seconds: float  # from the answer to the end of the line
    clips: list[str]  # that were begun, in order
    end: LineEnd

    @property
    def result(self) -> tuple[ScriptResult, str | None]:
        return self.report.result, self.report.choice


def hear(
    script: Script,
    *events: tuple[At, Callable[[FakeLine], object]],
    max_seconds: float = 180.0,
    record: bool = False,
    break_down: bool = False,
) -> Heard:
    """Run a script for a callee who does these things at these times."""

    async def call() -> Heard:
        gateway = FakeGateway(now=virtual.now)
        gateway.durations = {CLIPS[prompt].name: seconds for prompt, seconds in SECONDS.items()}
        line = await gateway.create(
            Dialled(
                leg=LegId(1, 1, 1),
                phone=LISTENER,
                trunk_id=1,
                caller_id=None,
                ring_timeout=30,
                max_seconds=10_000,
            )
        )
        await gateway.dial(line, ring_timeout=30)
        await line.answered()
        loop = asyncio.get_running_loop()
        began = loop.time()
        for at, what in events:
            loop.call_at(began + at, what, line)
        if break_down:

            async def refuse(clip: Path, *, interruptible: bool) -> str | None:
                raise GatewayRefused()

            line.play = refuse  # type: ignore[method-assign]
        report = await run(line, script, clips=CLIPS, max_seconds=max_seconds, record=record)
        assert line.ended is not None
        assert line.recorded is (record and line.answered_at is not None)
        return Heard(report, round(loop.time() - began, 3), [clip.stem for clip in line.clips], line.ended)

    return virtual.run(call())


def press(keys: str) -> Callable[[FakeLine], object]:
    return lambda line: line.press(keys)


def hang_up(line: FakeLine) -> None:
    line.finish(LineEnd(at=virtual.now(), hangup_cause=16))


def asking(*, repeats: int = 1, barge_in: bool = True, timeout: float = 5.0, **keys: Reaction) -> Script:
    named = {key.removeprefix("k"): reaction for key, reaction in keys.items()}
    return Script(
        nodes={
            "1": Node(
                prompt=ASK, keys=named or {"1": YES}, repeats=repeats, barge_in=barge_in, timeout=timeout
            )
        }
    ).checked()


YES = Reaction(status_name="yes")
PLAIN = Script(nodes={"1": Node(prompt=ASK)})
TREE = Script(
    nodes={
        "1": Node(
            prompt=ASK,
            keys={"1": Reaction(say=THANKS, goto="2", status_name="in"), "2": Reaction(goto="1")},
        ),
        "2": Node(prompt=MORE, keys={"3": Reaction(say=THANKS, status_name="deep"), "0": Reaction(goto="1")}),
    }
).checked()


def test_a_prompt_without_a_question_is_heard_out_and_we_hang_up() -> None:
    heard = hear(PLAIN)
    assert (heard.result, heard.seconds, heard.clips) == ((ScriptResult.completed, None), 4.0, ["ask"])
    assert heard.end.by_us
    assert heard.report.steps == ()


def test_keys_mean_nothing_to_a_prompt_without_a_question() -> None:
    heard = hear(PLAIN, (1.0, press("123")))
    assert (heard.result, heard.seconds) == ((ScriptResult.completed, None), 4.0)


def test_a_key_after_the_prompt_is_the_choice() -> None:
    heard = hear(asking(), (4.25, press("1")))
    assert (heard.result, heard.seconds) == ((ScriptResult.choice, "1"), 4.25)
    assert heard.report.status_name == "yes"
    assert heard.report.steps == (Step(node="1", key="1", status_name="yes", reaction=YES),)


def test_a_key_during_the_prompt_interrupts_it() -> None:
    assert hear(asking(), (1.234, press("1"))).seconds == 1.234


def test_without_barge_in_the_prompt_is_heard_out_and_the_key_is_kept() -> None:
    heard = hear(asking(barge_in=False), (1.0, press("1")))
    assert (heard.result, heard.seconds) == ((ScriptResult.choice, "1"), 4.0)


@pytest.mark.parametrize("repeats", [0, 1, 3])
def test_silence_repeats_the_prompt_so_often_and_no_more(repeats: int) -> None:
    heard = hear(asking(repeats=repeats, timeout=2.5))
    assert heard.result == (ScriptResult.no_input, None)
    assert heard.seconds == (4.0 + 2.5) * (1 + repeats)
    assert heard.clips == ["ask"] * (1 + repeats)
    assert heard.report.steps == tuple(Step(node="1", at=6.5 * n) for n in range(1 + repeats))


@pytest.mark.parametrize(("at", "result"), [(8.999, ScriptResult.choice), (9.001, ScriptResult.no_input)])
def test_the_timeout_is_exact_to_the_millisecond(at: float, result: ScriptResult) -> None:
    heard = hear(asking(repeats=0), (at, press("1")))
    assert (heard.report.result, heard.seconds) == (result, min(at, 9.0))


def test_a_key_in_the_second_round_is_as_good_as_in_the_first() -> None:
    heard = hear(asking(), (4.0 + 5.0 + 2.0, press("1")))
    assert (heard.result, heard.seconds) == ((ScriptResult.choice, "1"), 11.0)
    assert [step.key for step in heard.report.steps] == [None, "1"]


def test_a_wrong_key_repeats_the_prompt_at_once() -> None:
    heard = hear(asking(), (2.0, press("7")), (3.0, press("1")))
    assert (heard.result, heard.seconds, heard.clips) == ((ScriptResult.choice, "1"), 3.0, ["ask", "ask"])


def test_only_wrong_keys_are_invalid_input_even_after_a_silence() -> None:
    assert hear(asking(), (1.0, press("7")), (2.0, press("8"))).result == (ScriptResult.invalid_input, None)
    assert hear(asking(), (1.0, press("7"))).result == (ScriptResult.invalid_input, None)


def test_a_reaction_says_something_and_goes_on_to_another_node() -> None:
    heard = hear(TREE, (1.0, press("1")), (1.0 + 1.5 + 0.5, press("3")))
    assert (heard.result, heard.report.status_name) == ((ScriptResult.choice, "3"), "deep")
    assert heard.clips == ["ask", "thanks", "more", "thanks"]
    assert heard.seconds == 1.0 + 1.5 + 0.5 + 1.5
    assert [(step.node, step.key) for step in heard.report.steps] == [("1", "1"), ("2", "3")]


def test_a_choice_that_leads_to_silence_is_still_a_choice() -> None:
    heard = hear(TREE, (1.0, press("1")))
    assert (heard.result, heard.report.status_name) == ((ScriptResult.choice, "1"), "in")


def test_keys_pressed_ahead_are_taken_one_at_a_time() -> None:
    heard = hear(TREE, (1.0, press("13")))
    assert (heard.result, heard.clips) == ((ScriptResult.choice, "3"), ["ask", "thanks", "thanks"])


@pytest.mark.parametrize(
    ("at", "script", "result", "choice"),
    [
        (2.0, PLAIN, ScriptResult.hung_up, None),
        (2.0, asking(), ScriptResult.hung_up, None),
        (5.0, asking(), ScriptResult.no_input, None),  # heard the question, and gave no answer
        (9.5, asking(), ScriptResult.no_input, None),  # in the repetition
    ],
)
def test_a_callee_who_hangs_up_has_heard_what_she_has_heard(
    at: float, script: Script, result: ScriptResult, choice: str | None
) -> None:
    heard = hear(script, (at, hang_up))
    assert (heard.result, heard.seconds) == ((result, choice), at)
    assert not heard.end.by_us


@pytest.mark.parametrize("at", [1.7, 3.0, 6.0])
def test_a_callee_who_hangs_up_after_a_choice_has_chosen(at: float) -> None:
    heard = hear(TREE, (1.0, press("1")), (at, hang_up))
    assert (heard.result, heard.seconds) == ((ScriptResult.choice, "1"), at)


def test_a_key_and_a_hang_up_at_the_same_moment_count_as_the_key() -> None:
    def both(line: FakeLine) -> None:
        line.press("1")
        hang_up(line)

    for at in (2.0, 5.0):
        assert hear(asking(), (at, both)).result == (ScriptResult.choice, "1")


@pytest.mark.parametrize("limit", [0.5, 4.0 + 1.0, 10.0])
def test_max_time_cuts_whatever_goes_on(limit: float) -> None:
    heard = hear(asking(repeats=10), max_seconds=limit)
    assert (heard.report.result, heard.seconds) == (ScriptResult.max_time, limit)
    assert heard.end.by_us


def test_max_time_keeps_what_was_chosen_before() -> None:
    heard = hear(TREE, (1.0, press("1")), max_seconds=3.0)
    assert heard.result == (ScriptResult.max_time, "1")


def test_a_gateway_that_refuses_is_an_error_of_ours() -> None:
    heard = hear(asking(), break_down=True)
    assert (heard.result, heard.seconds) == ((ScriptResult.error, None), 0.0)
    assert heard.end.by_us


def test_a_recording_is_started_when_asked_for() -> None:
    assert hear(PLAIN, record=True).result == (ScriptResult.completed, None)


def test_walking_in_circles_ends() -> None:
    bursts = [(0.5 + 0.01 * n, press("2" * 100)) for n in range(10)]
    heard = hear(TREE, *bursts, max_seconds=3600.0)
    assert heard.report.result is ScriptResult.max_time
    assert len(heard.report.steps) == MAX_STEPS
    assert heard.seconds < 0.6


def test_an_endless_menu_is_bounded_by_max_time() -> None:
    events = [(4.0 * n + 1.0, press("2")) for n in range(1000)]
    heard = hear(TREE, *events, max_seconds=180.0)
    assert (heard.report.result, heard.seconds) == (ScriptResult.max_time, 180.0)
