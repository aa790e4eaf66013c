"""What is played and awaited on an answered call? The script as data, checked before anyone hears it.

A script is a set of named nodes. A node plays a prompt and, where it has keys, awaits one digit; a key's
reaction says something, gives the call a status name, goes to another node or hangs up.
"""

from msgspec import Struct, field

from zvonar.core.errors import SettingsInvalid
from zvonar.core.result import ScriptResult

KEYS = frozenset("0123456789*#")
MAX_NODES = 200
MAX_TEXT = 4000
MAX_NAME = 200  # characters of a node's or a status's name


def storable(text: str) -> bool:
    """Whether PostgreSQL and UTF-8 can hold this text: no NUL, no lone surrogate."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


class Prompt(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something to hear: a clip of the account or a text to synthesise; exactly one of them."""

    text: str | None = None
    clip_id: int | None = None

    def checked(self, where: str) -> "Prompt":
        if (self.text is None) == (self.clip_id is None):
            raise SettingsInvalid(f"{where} needs a text or a clip, and not both.")
        if self.text is not None and not self.text.strip():
            raise SettingsInvalid(f"{where} has an empty text.")
        if self.text is not None and len(self.text) > MAX_TEXT:
            raise SettingsInvalid(f"{where} has a text of more than {MAX_TEXT} characters.")
        if self.text is not None and not storable(self.text):
            raise SettingsInvalid(f"{where} has a text with a NUL or half a character.")
        return self


class Reaction(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a key does. Without `goto` the call ends once `say` is heard."""

    say: Prompt | None = None
    status_name: str | None = None  # the campaign's own name for this choice
    goto: str | None = None  # the node to continue with


class Node(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One prompt and what it awaits."""

    prompt: Prompt
    keys: dict[str, Reaction] = field(default_factory=dict)
    timeout: float = 5.0  # seconds of silence after the prompt before it is repeated
    repeats: int = 1  # how often the prompt is played again after silence or a wrong key
    barge_in: bool = True  # whether a key is heard while the prompt still plays

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
        for key, reaction in self.keys.items():
            if reaction.say is not None:
                reaction.say.checked(f"the reaction to {key} in node {name!r}")
            status = reaction.status_name
            if status is not None and (len(status) > MAX_NAME or not storable(status)):
                raise SettingsInvalid(f"a status name is at most {MAX_NAME} characters, without NUL.")
        return self


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
        reached, ahead = {self.start}, [self.start]
        while ahead:
            for reaction in self.nodes[ahead.pop()].keys.values():
                if reaction.goto is not None and reaction.goto not in reached:
                    reached.add(reaction.goto)
                    ahead.append(reaction.goto)
        if unreached := sorted(set(self.nodes) - reached):
            raise SettingsInvalid(f"no key leads to these nodes: {', '.join(map(repr, unreached))}.")
        return self

    def prompts(self) -> list[Prompt]:
        """Everything that may be heard, each once: what has to be synthesised before dialling."""
        heard: dict[Prompt, None] = {}
        for node in self.nodes.values():
            heard[node.prompt] = None
            for reaction in node.keys.values():
                if reaction.say is not None:
                    heard[reaction.say] = None
        return list(heard)


class Step(Struct, frozen=True, kw_only=True):
    """One thing that happened in a script, kept with the attempt."""

    node: str
    key: str | None  # None: silence
    status_name: str | None = None


class ScriptReport(Struct, frozen=True, kw_only=True):
    """What a script made of its call."""

    result: ScriptResult
    choice: str | None = None  # the last key that the script knew
    status_name: str | None = None  # of that key
    steps: tuple[Step, ...] = ()


def plain(prompt: Prompt) -> Script:
    """A script that says one thing and hangs up."""
    return Script(nodes={"1": Node(prompt=prompt)})
