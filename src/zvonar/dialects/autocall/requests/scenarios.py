"""Is this tree of prompts one that nobody gets lost in? Read with everything that is wrong by its name."""

from collections.abc import Collection, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from zvonar.core.errors import SettingsInvalid
from zvonar.core.prompt import MAX_NAME, MAX_TEXT, Prompt
from zvonar.core.reaction import Email, Reaction, Sms, Transfer
from zvonar.core.script import KEYS, MAX_NODES, Node, Script
from zvonar.dialects.autocall.errors import Unprocessable, invalid
from zvonar.dialects.autocall.requests.fields import BIGGEST, Id, Name
from zvonar.dialects.autocall.words import Text

NodeName = Annotated[str, Meta(min_length=1, max_length=MAX_NAME, examples=["1"])]


class ScenarioPrompt(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Something to hear: a text to be spoken, or audio; one of them."""

    text: Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)] | None = None
    audio_id: Id | Annotated[str, Meta(pattern=r"^[1-9]\d{0,18}$")] | None = None


class ScenarioReaction(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a key or a word does. Without `goto` the call ends once `say` is heard."""

    key: Annotated[str, Meta(min_length=1, max_length=1, examples=["1"])] | None = None
    words: list[Annotated[str, Meta(min_length=1, max_length=60, examples=["да"])]] = []  # lower case
    say: ScenarioPrompt | None = None
    status_name: Annotated[str, Meta(max_length=MAX_NAME)] | None = None  # your own name for this choice
    goto: NodeName | None = None
    sms: Sms | None = None
    email: Email | None = None
    webhook: Annotated[str, Meta(max_length=2000)] | None = None  # the address of a POST
    transfer: Transfer | None = None  # put the subscriber through


class ScenarioNode(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A prompt, and what it awaits. Without reactions the call ends after the prompt."""

    name: NodeName
    prompt: ScenarioPrompt
    reactions: list[ScenarioReaction] = []
    silence: ScenarioReaction | None = None  # where nothing was chosen in any round; else the call ends
    timeout: Annotated[float, Meta(ge=0.5, le=60)] = 5.0  # seconds of silence before the prompt is repeated
    repeats: Annotated[int, Meta(ge=0, le=10)] = 1  # how often it is repeated after silence or a wrong key
    barge_in: bool = True  # whether a key is heard while the prompt still plays
    word_barge_in: bool = False  # whether a word is


class ScenarioFields(Struct, frozen=True, kw_only=True):
    """A scenario to be kept."""

    name: Name
    nodes: Annotated[list[ScenarioNode], Meta(min_length=1, max_length=MAX_NODES)]
    start: NodeName | None = None  # the first node unless given


class Scenario(Struct, frozen=True, kw_only=True):
    """A scenario."""

    id: int
    name: str
    start: str
    nodes: list[ScenarioNode]
    created_at: str
    updated_at: str


def script_of(asked: ScenarioFields) -> Script:
    """The scenario as a script. Raises Unprocessable, naming every node and key that is wrong."""
    errors: dict[str, list[Text]] = {}
    names = [node.name for node in asked.nodes]
    start = asked.start or names[0]
    nodes: dict[str, Node] = {}
    for at, node in enumerate(asked.nodes):
        where = f"nodes.{at}"
        if node.name in nodes:
            message = Text(
                f"There are two nodes with the name {node.name!r}.", f"Имя узла {node.name!r} занято дважды."
            )
            errors.setdefault(f"{where}.name", []).append(message)
            continue
        errors.update(_wrong_keys(node, where))
        errors.update(_wrong_exits(node, where, names))
        nodes[node.name] = _node(node, where, errors)
    if start not in nodes:
        errors["start"] = [Text(f"There is no node {start!r}.", f"Нет узла {start!r}.")]
    if not errors:
        errors = {**_unreachable(asked, nodes, start), **_endless(asked, nodes)}
    if not errors:
        for at, name in enumerate(names):
            try:
                nodes[name].checked(name)
            except SettingsInvalid as exc:
                errors[f"nodes.{at}"] = [invalid(f"nodes.{at}", exc.detail or "")]
    if errors:
        raise Unprocessable(errors)
    try:
        return Script(nodes=nodes, start=start).checked()
    except SettingsInvalid as exc:
        raise Unprocessable({"nodes": [invalid("nodes", exc.detail or "")]}) from None


def clips_of(asked: ScenarioFields) -> dict[str, int]:
    """Every clip that a scenario plays, by where it stands."""
    found: dict[str, int] = {}
    for at, node in enumerate(asked.nodes):
        said = {f"nodes.{at}.prompt": node.prompt}
        for number, reaction in enumerate(node.reactions):
            if reaction.say is not None:
                said[f"nodes.{at}.reactions.{number}.say"] = reaction.say
        if node.silence is not None and node.silence.say is not None:
            said[f"nodes.{at}.silence.say"] = node.silence.say
        for where, prompt in said.items():
            if prompt.audio_id is not None:
                found[f"{where}.audio_id"] = int(prompt.audio_id)
    return found


def check_clips(asked: ScenarioFields, known: Collection[int]) -> None:
    """Raises Unprocessable where a clip is not among those that the account has."""
    gone = {
        where: [Text(f"There is no audio {clip_id}.", f"Нет аудио {clip_id}.")]
        for where, clip_id in clips_of(asked).items()
        if clip_id not in known
    }
    if gone:
        raise Unprocessable(gone)


def nodes_of(script: Script) -> list[ScenarioNode]:
    """A script as the wire shows it."""
    return [
        ScenarioNode(
            name=name,
            prompt=_shown(node.prompt),
            reactions=[
                *(_reaction_shown(reaction, key) for key, reaction in node.keys.items()),
                *(_reaction_shown(reaction, None) for reaction in node.spoken),
            ],
            silence=None if node.silence is None else _reaction_shown(node.silence, None),
            timeout=node.timeout,
            repeats=node.repeats,
            barge_in=node.barge_in,
            word_barge_in=node.word_barge_in,
        )
        for name, node in script.nodes.items()
    ]


def _wrong_keys(node: ScenarioNode, where: str) -> dict[str, list[Text]]:
    errors: dict[str, list[Text]] = {}
    keys: set[str] = set()
    words: set[str] = set()
    for at, reaction in enumerate(node.reactions):
        here = f"{where}.reactions.{at}"
        if reaction.key is None and not reaction.words:
            errors[here] = [
                Text(
                    "A reaction has a key, words, or both.", "У реакции есть клавиша, слова или то и другое."
                )
            ]
        if reaction.key is not None:
            if reaction.key not in KEYS:
                errors[f"{here}.key"] = [
                    Text(f"No telephone has the key {reaction.key!r}.", f"Клавиши {reaction.key!r} нет.")
                ]
            elif reaction.key in keys:
                errors[f"{here}.key"] = [
                    Text(
                        f"Key {reaction.key} is used twice in node {node.name!r}.",
                        f"Клавиша {reaction.key} в узле {node.name!r} использована дважды.",
                    )
                ]
            keys.add(reaction.key)
        for number, word in enumerate(reaction.words):
            if word in words:
                errors[f"{here}.words.{number}"] = [
                    Text(
                        f"The word {word!r} is used twice in node {node.name!r}.",
                        f"Слово {word!r} в узле {node.name!r} использовано дважды.",
                    )
                ]
            words.add(word)
    if node.silence is not None and (node.silence.key is not None or node.silence.words):
        errors[f"{where}.silence"] = [
            Text("Silence has neither key nor words.", "У молчания нет ни клавиши, ни слов.")
        ]
    return errors


def _wrong_exits(node: ScenarioNode, where: str, names: Collection[str]) -> dict[str, list[Text]]:
    errors: dict[str, list[Text]] = {}
    reactions = {f"{where}.reactions.{at}": reaction for at, reaction in enumerate(node.reactions)}
    if node.silence is not None:
        reactions[f"{where}.silence"] = node.silence
    for here, reaction in reactions.items():
        targets = {"goto": reaction.goto}
        if reaction.transfer is not None:
            targets["transfer.failed"] = reaction.transfer.failed
        for field, target in targets.items():
            if target is not None and target not in names:
                errors[f"{here}.{field}"] = [Text(f"There is no node {target!r}.", f"Нет узла {target!r}.")]
    return errors


def _unreachable(asked: ScenarioFields, nodes: Mapping[str, Node], start: str) -> dict[str, list[Text]]:
    reached, ahead = {start}, [start]
    while ahead:
        for goto in nodes[ahead.pop()].exits():
            if goto not in reached:
                reached.add(goto)
                ahead.append(goto)
    return {
        f"nodes.{at}.name": [
            Text(
                f"Node {node.name!r} is unreachable: nothing leads to it.",
                f"Узел {node.name!r} недостижим: в него ничто не ведёт.",
            )
        ]
        for at, node in enumerate(asked.nodes)
        if node.name not in reached
    }


def _endless(asked: ScenarioFields, nodes: Mapping[str, Node]) -> dict[str, list[Text]]:
    """Loops in which whatever the subscriber does, even nothing, leads round again."""
    ending = {name for name, node in nodes.items() if _may_end(node)}
    grows = True
    while grows:
        more = {
            name
            for name, node in nodes.items()
            if name not in ending and any(to in ending for to in node.exits())
        }
        ending |= more
        grows = bool(more)
    endless = [name for name in nodes if name not in ending]
    told = ", ".join(repr(name) for name in endless)
    return {
        f"nodes.{at}.name": [
            Text(f"Nothing ends the loop of nodes {told}.", f"Из цикла узлов {told} нет выхода.")
        ]
        for at, node in enumerate(asked.nodes)
        if node.name in endless
    }


def _may_end(node: Node) -> bool:
    if not node.asks or node.silence is None:
        return True
    return any(reaction.goto is None for reaction in node.all_reactions())


def _node(node: ScenarioNode, where: str, errors: dict[str, list[Text]]) -> Node:
    reactions = [
        _reaction(reaction, f"{where}.reactions.{at}", errors) for at, reaction in enumerate(node.reactions)
    ]
    keyed = {
        asked.key: reaction
        for asked, reaction in zip(node.reactions, reactions, strict=True)
        if asked.key is not None
    }
    spoken = tuple(
        reaction for asked, reaction in zip(node.reactions, reactions, strict=True) if asked.key is None
    )
    return Node(
        prompt=_prompt(node.prompt, f"{where}.prompt", errors),
        keys=keyed,
        spoken=spoken,
        silence=None if node.silence is None else _reaction(node.silence, f"{where}.silence", errors),
        timeout=node.timeout,
        repeats=node.repeats,
        barge_in=node.barge_in,
        word_barge_in=node.word_barge_in,
    )


def _reaction(asked: ScenarioReaction, where: str, errors: dict[str, list[Text]]) -> Reaction:
    return Reaction(
        words=tuple(asked.words),
        say=None if asked.say is None else _prompt(asked.say, f"{where}.say", errors),
        status_name=asked.status_name,
        goto=asked.goto,
        sms=asked.sms,
        email=asked.email,
        webhook=asked.webhook,
        transfer=asked.transfer,
    )


def _prompt(asked: ScenarioPrompt, where: str, errors: dict[str, list[Text]]) -> Prompt:
    if (asked.text is None) == (asked.audio_id is None) or (
        asked.text is not None and not asked.text.strip()
    ):
        errors[where] = [
            Text(
                "A prompt has a text or an audio_id, one of them.",
                "У фразы есть text или audio_id, что-то одно.",
            )
        ]
    clip_id = None if asked.audio_id is None else int(asked.audio_id)
    if clip_id is not None and clip_id > BIGGEST:
        errors[f"{where}.audio_id"] = [Text("There is no such audio.", "Нет такого аудио.")]
    return Prompt(text=asked.text, clip_id=clip_id)


def _shown(prompt: Prompt) -> ScenarioPrompt:
    return ScenarioPrompt(text=prompt.text, audio_id=None if prompt.clip_id is None else str(prompt.clip_id))


def _reaction_shown(reaction: Reaction, key: str | None) -> ScenarioReaction:
    fields: dict[str, Any] = msgspec.structs.asdict(reaction)
    fields["words"] = list(reaction.words)
    fields["say"] = None if reaction.say is None else _shown(reaction.say)
    return ScenarioReaction(key=key, **fields)
