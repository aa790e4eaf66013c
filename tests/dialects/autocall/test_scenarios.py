"""Is a tree that somebody would get lost in refused, and told by the node that is wrong?"""

from __future__ import annotations

from typing import Any

import pytest

from .client import Client

SAY = {"text": "Здравствуйте"}


def node(name: str, *reactions: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "prompt": SAY, "reactions": list(reactions), **more}


def test_what_was_kept_is_what_was_sent(client: Client) -> None:
    audio = client.ok("POST", "/audio", {"text": "Добрый день"}, status=201)["id"]
    nodes = [
        node(
            "hello",
            {"key": "1", "words": ["да"], "goto": "offer", "status_name": "Да"},
            {"words": ["нет"], "say": {"text": "Жаль."}},
            silence={"say": {"text": "Мы перезвоним."}},
            timeout=3.0,
            repeats=2,
        ),
        {"name": "offer", "prompt": {"audio_id": str(audio)}, "reactions": [{"key": "0", "goto": "hello"}]},
    ]
    made = client.ok("POST", "/scenarios", {"name": "Опрос", "nodes": nodes}, status=201)
    assert (made["name"], made["start"]) == ("Опрос", "hello")
    for sent, kept in zip(nodes, made["nodes"], strict=True):
        assert kept == {"timeout": 5.0, **sent}
    assert client.ok("GET", f"/scenarios/{made['id']}") == made
    replaced = client.ok("PUT", f"/scenarios/{made['id']}", {"name": "Короче", "nodes": [node("1")]})
    assert [one["name"] for one in replaced["nodes"]] == ["1"]
    client.ok("DELETE", f"/scenarios/{made['id']}", status=204)
    assert client.send("GET", f"/scenarios/{made['id']}").status_code == 404


@pytest.mark.parametrize(
    ("nodes", "field", "said"),
    [
        ([node("a"), node("b")], "nodes.1.name", "'b' is unreachable"),
        (
            [node("a", {"key": "1", "goto": "a"}, silence={"goto": "a"})],
            "nodes.0.name",
            "Nothing ends the loop of nodes 'a'",
        ),
        (
            [
                node("a", {"key": "1", "goto": "b"}, silence={"goto": "b"}),
                node("b", {"key": "1", "goto": "a"}, silence={"goto": "a"}),
            ],
            "nodes.1.name",
            "'a', 'b'",
        ),
        ([{"name": "a", "prompt": {"audio_id": 7}}], "nodes.0.prompt.audio_id", "no audio 7"),
        (
            [node("a", {"key": "1", "say": {"audio_id": "7"}})],
            "nodes.0.reactions.0.say.audio_id",
            "no audio 7",
        ),
        (
            [node("a", {"key": "1"}, {"key": "1"})],
            "nodes.0.reactions.1.key",
            "Key 1 is used twice in node 'a'",
        ),
        (
            [node("a", {"words": ["да"]}, {"key": "2", "words": ["да"]})],
            "nodes.0.reactions.1.words.0",
            "used twice in node 'a'",
        ),
        ([node("a", {"key": "x"})], "nodes.0.reactions.0.key", "No telephone has the key 'x'"),
        ([node("a", {"key": "1", "goto": "b"})], "nodes.0.reactions.0.goto", "There is no node 'b'"),
        ([node("a"), node("a")], "nodes.1.name", "two nodes"),
        ([{"name": "a", "prompt": {}}], "nodes.0.prompt", "one of them"),
        ([node("a", {"say": SAY})], "nodes.0.reactions.0", "a key, words, or both"),
    ],
)
def test_what_is_wrong_is_named(client: Client, nodes: list[Any], field: str, said: str) -> None:
    before = client.house.picture()
    refused = client.send("POST", "/scenarios", {"name": "x", "nodes": nodes})
    assert refused.status_code == 422
    assert said in refused.json()["errors"][field][0]
    assert client.house.picture() == before


def test_a_menu_that_may_be_heard_again_is_no_loop_without_an_exit(client: Client) -> None:
    again = node("a", {"key": "1", "goto": "a"})
    client.ok("POST", "/scenarios", {"name": "x", "nodes": [again]}, status=201)


def test_an_autocall_keeps_the_scenario_that_it_was_given(client: Client) -> None:
    made = client.ok("POST", "/scenarios", {"name": "x", "nodes": [node("1", {"key": "1"})]}, status=201)
    body = {"name": "x", "list_id": [{"number": "+70001230001"}], "scenario_id": made["id"]}
    autocall = client.ok("POST", "/autocalls", body, status=201)
    assert (autocall["scenario_id"], autocall["audio_id"]) == (made["id"], [])
    client.ok("PUT", f"/scenarios/{made['id']}", {"name": "y", "nodes": [node("2")]})
    kept = client.ok("GET", f"/autocalls/{autocall['id']}/settings")["script"]
    assert list(kept["nodes"]) == ["1"]
    both = client.send("POST", "/autocalls", {**body, "audio_id": [{"data": {"text": "x"}}]})
    assert list(both.json()["errors"]) == ["scenario_id"]
