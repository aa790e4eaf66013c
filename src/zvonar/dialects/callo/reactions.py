"""What did the subscriber set off by keys? `action_type` and `ivr_data`; the numbers and names of actions are guesses.

The sources show one element of `ivr_data` and two words of `action_type`, and no table of either [G].
"""

from collections.abc import Mapping, Sequence
from typing import Any

from zvonar.core.script import Reaction, Script

# One element of the sources has 1, with nothing but a button in it.
_ACTION_NUMBER = 1


def action_type(script: Script, steps: Sequence[Mapping[str, Any]]) -> str | None:
    """What the last key did, in a word; None where it did no more than count."""
    for step in reversed(steps):
        reaction = _reaction(script, step)
        if reaction is not None:
            return "audioclip" if reaction.say is not None else None
    return None


def ivr_data(script: Script | None, steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    """An element for each key that was pressed; None where none was."""
    pressed = [step for step in steps if step.get("key") is not None]
    return [_element(script, step) for step in pressed] or None


def _element(script: Script | None, step: Mapping[str, Any]) -> dict[str, Any]:
    reaction = None if script is None else _reaction(script, step)
    key = str(step["key"])
    return {
        "ivr_num": _number(script, str(step["node"])),
        "webhook": "",
        "sms_name": "",
        "sms_text": "",
        "to_phone": None,
        "button_num": int(key) if key.isdecimal() else None,
        "to_sipname": None,
        "action_type": _ACTION_NUMBER,
        "status_name": step.get("status_name") or "",
        "recognize_num": None,
        "follow_ivr_num": None
        if reaction is None or reaction.goto is None
        else _number(script, reaction.goto),
    }


def _reaction(script: Script, step: Mapping[str, Any]) -> Reaction | None:
    node = script.nodes.get(str(step["node"]))  # the script may have changed since
    return None if node is None or step.get("key") is None else node.keys.get(str(step["key"]))


def _number(script: Script | None, node: str) -> int:
    """The reference counts menus; a node of ours has a name, most often a number."""
    if node.isdecimal() and len(node) < 9:
        return int(node)
    return 1 if script is None or node not in script.nodes else list(script.nodes).index(node) + 1
