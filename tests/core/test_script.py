"""Is a script that cannot work refused before anyone hears it?"""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zvonar.core.errors import SettingsInvalid
from zvonar.core.facts import TransferReport
from zvonar.core.reaction import Transfer
from zvonar.core.result import Disposition, ScriptResult
from zvonar.core.script import (
    KEYS,
    MAX_NAME,
    MAX_NODES,
    MAX_TEXT,
    Node,
    Prompt,
    Reaction,
    Script,
    plain,
    put_through,
    storable,
)

HELLO = Prompt(text="Здравствуйте")


def node(*gotos: str | None, **settings: Any) -> Node:
    return Node(prompt=HELLO, keys={str(n): Reaction(goto=goto) for n, goto in enumerate(gotos)}, **settings)


def test_one_prompt_is_a_script() -> None:
    assert plain(HELLO).checked().prompts() == [HELLO]


def test_a_loop_is_legal() -> None:
    script = Script(nodes={"1": node("2"), "2": node("1", "2", None)})
    assert script.checked() is script


@given(st.dictionaries(st.sampled_from("12345"), st.lists(st.sampled_from("12345"), max_size=4), min_size=1))
def test_a_script_is_accepted_exactly_when_every_goto_exists_and_every_node_is_reached(
    graph: dict[str, list[str]],
) -> None:
    reached = {"1"} & set(graph)
    for _ in graph:
        reached |= {goto for name in reached for goto in graph.get(name, [])}
    sound = reached == set(graph) and all(goto in graph for gotos in graph.values() for goto in gotos)
    script = Script(nodes={name: node(*gotos) for name, gotos in graph.items()})
    if sound:
        assert script.checked() is script
    else:
        with pytest.raises(SettingsInvalid):
            script.checked()


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (Script(nodes={}), "starts at node '1'"),
        (Script(nodes={"2": node()}), "starts at node '1'"),
        (Script(nodes={"1": node("9")}), "goes to '9'"),
        (Script(nodes={"1": node(), "2": node("2")}), "no key leads to these nodes: '2'"),
        (Script(nodes={"1": Node(prompt=HELLO, keys={"A": Reaction()})}), "no telephone has: A"),
        (Script(nodes={"1": Node(prompt=HELLO, keys={"12": Reaction()})}), "no telephone has: 12"),
        (Script(nodes={"1": Node(prompt=HELLO, keys={"١": Reaction()})}), "no telephone has"),
        (Script(nodes={"1": node(timeout=0.4)}), "timeout of node '1'"),
        (Script(nodes={"1": node(timeout=60.1)}), "timeout of node '1'"),
        (Script(nodes={"1": node(timeout=float("nan"))}), "timeout of node '1'"),
        (Script(nodes={"1": node(repeats=-1)}), "repeats of node '1'"),
        (Script(nodes={"1": node(repeats=11)}), "repeats of node '1'"),
        (Script(nodes={str(n): node() for n in range(MAX_NODES + 1)}), "at most 200 nodes"),
        (Script(start="\0", nodes={"\0": node()}), "node's name"),
        (Script(start="x" * 201, nodes={"x" * 201: node()}), "node's name"),
        (plain(Prompt()), "needs a text or a clip"),
        (plain(Prompt(text="да", clip_id=1)), "not both"),
        (plain(Prompt(text="")), "empty text"),
        (plain(Prompt(text=" \n\t\u00a0")), "empty text"),
        (plain(Prompt(text="а" * (MAX_TEXT + 1))), "more than 4000"),
        (plain(Prompt(text="да\0")), "NUL"),
        (plain(Prompt(text="да\ud800")), "half a character"),
        (
            Script(nodes={"1": Node(prompt=HELLO, keys={"1": Reaction(say=Prompt(text=" "))})}),
            "reaction to 1 in node '1'",
        ),
        (
            Script(nodes={"1": Node(prompt=HELLO, keys={"1": Reaction(status_name="x" * (MAX_NAME + 1))})}),
            "status name",
        ),
        (Script(nodes={"1": Node(prompt=HELLO, keys={"1": Reaction(status_name="\0")})}), "status name"),
    ],
)
def test_what_does_not_hold_is_named(script: Script, says: str) -> None:
    with pytest.raises(SettingsInvalid, match=says):
        script.checked()


def test_limits_themselves_are_allowed() -> None:
    chain = {str(n): node(str(n + 1)) for n in range(1, MAX_NODES)} | {str(MAX_NODES): node()}
    Script(nodes=chain).checked()
    plain(Prompt(text="а" * MAX_TEXT)).checked()
    keypad = Node(prompt=HELLO, keys={key: Reaction() for key in KEYS}, timeout=0.5, repeats=10)
    Script(nodes={"1": keypad}).checked()


def test_every_prompt_is_listed_once() -> None:
    again, bye = Prompt(clip_id=7), Prompt(text="Пока")
    script = Script(
        nodes={
            "1": Node(prompt=HELLO, keys={"1": Reaction(say=bye, goto="2"), "2": Reaction(say=again)}),
            "2": Node(prompt=HELLO, keys={"1": Reaction(say=bye), "2": Reaction()}),
        }
    )
    assert script.checked().prompts() == [HELLO, bye, again]


@given(st.text())
def test_storable_texts_are_what_utf8_without_nul_can_say(text: str) -> None:
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        assert not storable(text)
    else:
        assert storable(text) == (b"\0" not in encoded)


@pytest.mark.parametrize(
    "body",
    [
        '{"nodes":{},"strat":"1"}',
        '{"nodes":{"1":{"prompt":{"text":"a"},"repeat":2}}}',
        '{"nodes":{"1":{"prompt":{"txt":"a"}}}}',
        '{"nodes":{"1":{"prompt":{"text":"a"},"keys":{"1":{"go_to":"1"}}}}}',
    ],
)
def test_a_misspelt_setting_is_refused_at_any_depth(body: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.json.decode(body, type=Script)


def test_a_forgotten_script_tells_its_choice_where_only_one_leads_there() -> None:
    def told(to: str) -> TransferReport:
        return TransferReport(to=to, began=2.0, ended=9.0, disposition=Disposition.answered, answered=3.0)

    phone, name, both = "+79991234567", "sales", "+79997654321"
    nodes = {
        "1": Node(
            prompt=HELLO,
            keys={
                "1": Reaction(transfer=Transfer(phone=phone), status_name="agent"),
                "2": Reaction(goto="2"),
                "3": Reaction(transfer=Transfer(phone=both)),
            },
        ),
        "2": Node(
            prompt=HELLO,
            spoken=(Reaction(words=("yes",), transfer=Transfer(sip_name=name)),),
            silence=Reaction(transfer=Transfer(phone=both)),
        ),
    }
    script = Script(nodes=nodes)
    report = put_through(script, told(phone))
    assert (report.result, report.choice, report.status_name) == (ScriptResult.transferred, "1", "agent")
    (step,) = report.steps
    assert (step.node, step.key, step.word, step.at) == ("1", "1", None, 2.0)
    (step,) = put_through(script, told(name)).steps
    assert (step.node, step.key, step.word) == ("2", None, "yes")
    # Two ways lead here, and none there any more: that is all that is known.
    for to in (both, "+79990000000"):
        report = put_through(script, told(to))
        (step,) = report.steps
        assert (report.choice, step.node, step.key) == (None, "1", None)
        assert step.reaction is not None
        assert step.reaction.transfer == Transfer(phone=to)
    assert report.facts is not None
    assert report.facts.transfers == (told(to),)
