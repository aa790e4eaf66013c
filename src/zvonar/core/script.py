"""What is played and awaited on an answered call? The script as data, checked before anyone hears it.

A script is a set of named nodes. A node plays a prompt and then awaits a key or a word (a menu), awaits the digits of
a PIN, dictates a code, or awaits nothing and ends the call.
"""

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum

from msgspec import Struct, field, structs

from zvonar.core.errors import SettingsInvalid
from zvonar.core.facts import CallFacts, Kind, MachineReport, Operation, TransferReport
from zvonar.core.prompt import MAX_NAME, MAX_TEXT, Prompt, storable
from zvonar.core.reaction import Reaction, ReactionOverride, Transfer
from zvonar.core.result import Cause, ScriptResult

__all__ = ["KEYS", "MAX_NAME", "MAX_NODES", "MAX_TEXT", "Prompt", "Reaction", "Script", "plain", "storable"]

KEYS = frozenset("0123456789*#")
MAX_NODES = 200
MAX_PIN = 40  # digits

_DIGITS = re.compile(r"\d{1,40}", re.ASCII)


class Entry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Digits that the subscriber has to enter; the script ends with whether he did."""

    expects: str  # the right digits
    between: float = 4.0  # seconds of silence that end an entry that is too short
    right: Prompt | None = None  # said after the right digits
    wrong: Prompt | None = None  # said after wrong ones, before the question is repeated

    def checked(self, name: str) -> "Entry":
        """Self, or SettingsInvalid. `name`: of its node."""
        if not _DIGITS.fullmatch(self.expects):
            raise SettingsInvalid(f"node {name!r} expects 1 to {MAX_PIN} digits.")
        if not 0.5 <= self.between <= 60:
            raise SettingsInvalid(f"the digits of node {name!r} come within 0.5 to 60 seconds of each other.")
        for said in (self.right, self.wrong):
            if said is not None:
                said.checked(f"what node {name!r} says of the digits")
        return self

    def prompts(self) -> list[Prompt]:
        """What is said of an entry."""
        return [said for said in (self.right, self.wrong) if said is not None]


class Dictation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Digits that are read out one by one, after the node's prompt."""

    digits: str
    times: int = 2  # the prompt and the digits are said so often
    pause: float = 0.3  # seconds after each digit

    def checked(self, name: str) -> "Dictation":
        """Self, or SettingsInvalid. `name`: of its node."""
        if not _DIGITS.fullmatch(self.digits):
            raise SettingsInvalid(f"node {name!r} dictates 1 to {MAX_PIN} digits.")
        if not 1 <= self.times <= 10 or not 0 <= self.pause <= 5:
            raise SettingsInvalid(f"node {name!r} dictates 1 to 10 times, with pauses of up to 5 seconds.")
        return self

    def prompts(self) -> list[Prompt]:
        """One for each digit, in their order."""
        return [Prompt(text=digit) for digit in self.digits]


class Node(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One prompt and what it awaits."""

    prompt: Prompt
    keys: dict[str, Reaction] = field(default_factory=dict)
    spoken: tuple[Reaction, ...] = ()  # reactions that words alone choose
    silence: Reaction | None = None  # what happens where nothing was chosen in any round
    timeout: float = 5.0  # seconds of silence after the prompt before it is repeated
    repeats: int = 1  # how often the prompt is played again after silence or a wrong key
    barge_in: bool = True  # whether a key is heard while the prompt still plays
    word_barge_in: bool = False  # whether a word is, too
    entry: Entry | None = None
    dictation: Dictation | None = None

    @property
    def asks(self) -> bool:
        """Whether it is a menu."""
        return bool(self.keys or self.spoken)

    @property
    def kind(self) -> Kind:
        """What it is in a report."""
        if self.entry is not None:
            return Kind.entry
        if self.dictation is not None:
            return Kind.dictation
        return Kind.menu if self.asks else Kind.play

    @property
    def words(self) -> dict[str, Reaction]:
        """Every word that is understood here."""
        return {word: reaction for reaction in self.reactions() for word in reaction.words}

    def reactions(self) -> Iterator[Reaction]:
        """All of them, those to silence excepted."""
        yield from self.keys.values()
        yield from self.spoken

    def reaction_to(self, choice: str) -> Reaction | None:
        """What a key or a word does here."""
        return self.keys.get(choice) or self.words.get(choice)

    def checked(self, name: str) -> "Node":
        if len(name) > MAX_NAME or not storable(name):
            raise SettingsInvalid(f"a node's name is at most {MAX_NAME} characters, without NUL.")
        self.prompt.checked(f"the prompt of node {name!r}")
        if unknown := sorted(set(self.keys) - KEYS):
            raise SettingsInvalid(f"node {name!r} has keys that no telephone has: {', '.join(unknown)}.")
        if not 0.5 <= self.timeout <= 60:
            raise SettingsInvalid(f"the timeout of node {name!r} is 0.5 to 60 seconds.")
        if not 0 <= self.repeats <= 10:
            raise SettingsInvalid(f"the repeats of node {name!r} are 0 to 10.")
        if sum((self.asks, self.entry is not None, self.dictation is not None)) > 1:
            raise SettingsInvalid(f"node {name!r} is a menu, an entry or a dictation, not several of them.")
        for key, reaction in self.keys.items():
            reaction.checked(f"the reaction to {key} in node {name!r}")
        for reaction in self.spoken:
            reaction.checked(f"a spoken reaction in node {name!r}")
            if not reaction.words:
                raise SettingsInvalid(f"a spoken reaction in node {name!r} has no words.")
        if self.silence is not None:
            self.silence.checked(f"the reaction to silence in node {name!r}")
            if self.silence.words or not self.asks:
                raise SettingsInvalid(f"only a menu reacts to silence, and not to words: node {name!r}.")
        said = [word for reaction in self.reactions() for word in reaction.words]
        if len(set(said)) < len(said):
            raise SettingsInvalid(f"a word of node {name!r} chooses two reactions.")
        if self.entry is not None:
            self.entry.checked(name)
        if self.dictation is not None:
            self.dictation.checked(name)
        return self

    def all_reactions(self) -> Iterator[Reaction]:
        """All of them."""
        yield from self.reactions()
        if self.silence is not None:
            yield self.silence

    def prompts(self) -> Iterator[Prompt]:
        """Everything that may be heard here."""
        yield self.prompt
        for reaction in self.all_reactions():
            yield from reaction.prompts()
        if self.dictation is not None:
            yield from self.dictation.prompts()
        if self.entry is not None:
            yield from self.entry.prompts()

    def exits(self) -> Iterator[str]:
        """The nodes that it leads to."""
        for reaction in self.all_reactions():
            if reaction.goto is not None:
                yield reaction.goto
            if reaction.transfer is not None and reaction.transfer.failed is not None:
                yield reaction.transfer.failed


class Script(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tree of nodes; loops are legal, `max_call_time` bounds them."""

    nodes: dict[str, Node]
    start: str = "1"

    def checked(self) -> "Script":
        """Self, or SettingsInvalid naming what does not hold."""
        if self.start not in self.nodes:
            raise SettingsInvalid(f"the script starts at node {self.start[:60]!r}, which does not exist.")
        if len(self.nodes) > MAX_NODES:
            raise SettingsInvalid(f"a script has at most {MAX_NODES} nodes.")
        for name, node in self.nodes.items():
            node.checked(name)
            for key, reaction in node.keys.items():
                if reaction.goto is not None and reaction.goto not in self.nodes:
                    raise SettingsInvalid(
                        f"key {key} of node {name!r} goes to {reaction.goto[:60]!r}, which does not exist."
                    )
            for goto in node.exits():
                if goto not in self.nodes:
                    raise SettingsInvalid(f"node {name!r} leads to {goto[:60]!r}, which does not exist.")
        reached, ahead = {self.start}, [self.start]
        while ahead:
            for goto in self.nodes[ahead.pop()].exits():
                if goto not in reached:
                    reached.add(goto)
                    ahead.append(goto)
        if unreached := sorted(set(self.nodes) - reached):
            raise SettingsInvalid(f"no key leads to these nodes: {', '.join(map(repr, unreached))}.")
        return self

    def prompts(self) -> list[Prompt]:
        """Everything that may be heard, each once: what has to be synthesised before dialling."""
        return list(dict.fromkeys(prompt for node in self.nodes.values() for prompt in node.prompts()))

    def level(self, number: int) -> str | None:
        """The name of the node that a client calls level `number` (from 1): the one of that name, else by position."""
        if str(number) in self.nodes:
            return str(number)
        return list(self.nodes)[number - 1] if 1 <= number <= len(self.nodes) else None

    def overridden(self, overrides: Iterable[ReactionOverride]) -> "Script":
        """The script with some reactions changed. One that does not exist (any more) changes nothing."""
        nodes = dict(self.nodes)
        for override in overrides:
            node = nodes.get(override.node)
            reaction = node.reaction_to(override.choice) if node is not None else None
            if node is None or reaction is None:
                continue
            changed = override.over(reaction)
            nodes[override.node] = structs.replace(
                node,
                keys={key: changed if was is reaction else was for key, was in node.keys.items()},
                spoken=tuple(changed if was is reaction else was for was in node.spoken),
            )
        return structs.replace(self, nodes=nodes)


class PinEntry(StrEnum):
    """What was entered where a PIN was asked for."""

    right = "right"
    wrong = "wrong"


class Step(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happened in a script, kept with the attempt."""

    node: str
    key: str | None = None  # None: silence, or a word
    word: str | None = None  # the one that was understood, as the script has it
    unclear: bool = False  # somebody spoke, and was not understood
    status_name: str | None = None
    pin: PinEntry | None = None
    reaction: Reaction | None = None  # what followed, as this call had it
    at: float = 0.0  # seconds from the answer
    transfer: TransferReport | None = None


class ScriptReport(Struct, frozen=True, kw_only=True):
    """What a script made of its call."""

    result: ScriptResult
    choice: str | None = None  # the last key or word that the script knew
    status_name: str | None = None  # of that choice
    steps: tuple[Step, ...] = ()
    cause: Cause | None = None  # where the result leaves more than one reason
    machine: MachineReport | None = None
    operations: tuple[Operation, ...] = ()  # none where one prompt was played and that was all

    @property
    def facts(self) -> CallFacts | None:
        """What reports want to know; None where there is nothing to tell."""
        if self.machine is None and not self.operations:
            return None
        transfers = tuple(step.transfer for step in self.steps if step.transfer is not None)
        return CallFacts(machine=self.machine, operations=self.operations, transfers=transfers)


def put_through(script: Script, transfer: TransferReport) -> ScriptReport:
    """What is known of a script that put somebody through and was forgotten with its process.

    Which key or word it was is told only where no other leads to the same phone or name.
    """

    def leads(reaction: Reaction) -> bool:
        to = reaction.transfer
        return to is not None and transfer.to in (to.phone, to.sip_name)

    ways: list[tuple[str, str | None, Reaction]] = []
    for name, node in script.nodes.items():
        ways += [(name, choice, of) for choice, of in (node.keys | node.words).items() if leads(of)]
        if node.silence is not None and leads(node.silence):
            ways.append((name, None, node.silence))
    phone = transfer.to if transfer.to.startswith("+") else None
    unknown = Reaction(transfer=Transfer(phone=phone, sip_name=None if phone else transfer.to))
    where = ways[0][0] if len({name for name, _, _ in ways}) == 1 else script.start
    choice, reaction = ways[0][1:] if len(ways) == 1 else (None, unknown)
    status_name = reaction.status_name if choice is not None else None
    step = Step(
        node=where,
        key=choice if choice in KEYS else None,
        word=None if choice in KEYS else choice,
        status_name=status_name,
        reaction=reaction,
        at=transfer.began,
        transfer=transfer,
    )
    return ScriptReport(
        result=ScriptResult.transferred,
        choice=choice,
        status_name=status_name,
        steps=(step,),
        operations=(Operation(kind=Kind.transfer, began=transfer.began, ended=transfer.ended),),
    )


def plain(prompt: Prompt) -> Script:
    """A script that says one thing and hangs up."""
    return Script(nodes={"1": Node(prompt=prompt)})
