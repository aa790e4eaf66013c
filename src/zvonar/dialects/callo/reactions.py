"""What did the subscriber set off? `action_type` and `ivr_data`; the numbers and names of actions are guesses.

The sources show one element of `ivr_data` and two words of `action_type`, and no table of either [G]. What became of a
transfer, and of each message, stands in its element, in keys of ours.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from zvonar.core.reaction import SmsTo
from zvonar.core.script import Script

# One element of the sources has 1, with nothing but a button in it.
_ACTION_NUMBER = 1
_MESSAGES = ("sms", "email", "webhook")
_SMS = {SmsTo.subscriber: "sms_to_client", SmsTo.owner: "sms_to_owner"}


def action_type(script: Script | None, steps: Sequence[Mapping[str, Any]]) -> str | None:
    """What the last choice did, in a word; None where it did no more than count."""
    for step in reversed(steps):
        reaction = _reaction(script, step)
        if reaction is not None:
            return _action(reaction)
    return None


def _action(reaction: Mapping[str, Any]) -> str | None:
    transfer, sms = reaction.get("transfer"), reaction.get("sms")
    if transfer is not None:
        return "call_phone" if transfer.get("phone") else "call_sip"
    if sms is not None:
        return _SMS[SmsTo(sms.get("to", SmsTo.subscriber))]
    for name, word in (("email", "email"), ("webhook", "webhook"), ("say", "audioclip")):
        if reaction.get(name) is not None:
            return word
    return None


def ivr_data(
    script: Script | None, steps: Sequence[Mapping[str, Any]], sent: Sequence[Mapping[str, Any]] = ()
) -> list[dict[str, Any]] | None:
    """An element for each choice, and for what followed silence; None where there was neither.

    `sent`: what became of the messages that were set off, by the number of their reaction.
    """
    elements, told = [], 0
    for step in steps:
        if step.get("key") is None and not step.get("word") and not step.get("reaction"):
            continue
        element = _element(script, step)
        if any((step.get("reaction") or {}).get(name) for name in _MESSAGES):
            told += 1
            if messages := [one for one in sent if one["number"] == told]:
                element["messages"] = [_message(one) for one in messages]
        elements.append(element)
    return elements or None


def _message(sent: Mapping[str, Any]) -> dict[str, Any]:
    """What became of one message, in words of ours: no source shows it."""
    said = {"type": str(sent["kind"]).removeprefix("reaction."), "status": sent["state"]}
    return {**said, "error": sent["error"]} if sent["error"] else said


def _element(script: Script | None, step: Mapping[str, Any]) -> dict[str, Any]:
    reaction = _reaction(script, step) or {}
    key, word = str(step.get("key") or ""), step.get("word")
    sms, transfer, goto = reaction.get("sms") or {}, reaction.get("transfer") or {}, reaction.get("goto")
    words = list(reaction.get("words", ()))
    element = {
        "ivr_num": _number(script, str(step["node"])),
        "webhook": reaction.get("webhook") or "",
        "sms_name": sms.get("name") or "",
        "sms_text": sms.get("text") or "",
        "to_phone": transfer.get("phone"),
        "button_num": int(key) if key.isdecimal() else None,
        "to_sipname": transfer.get("sip_name"),
        "action_type": _ACTION_NUMBER,
        "status_name": step.get("status_name") or "",
        "recognize_num": words.index(word) + 1 if word in words else None,
        "follow_ivr_num": None if goto is None else _number(script, str(goto)),
    }
    if word:
        element["recognize_word"] = word
    if (report := step.get("transfer")) is not None:
        element["transfer_status"] = report["disposition"]
        element["transfer_wait"] = _seconds(report.get("answered", report["ended"]), report["began"])
        element["transfer_duration"] = report.get("talk_seconds", 0)
    return element


def _seconds(till: float, since: float) -> float:
    return round(till - since, 1)


def _reaction(script: Script | None, step: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What followed, as the call had it; of older steps as the campaign has it now."""
    known = step.get("reaction")
    if known is not None or script is None or step.get("key") is None:
        return known if known is None or isinstance(known, Mapping) else None
    node = script.nodes.get(str(step["node"]))  # the script may have changed since
    reaction = None if node is None else node.keys.get(str(step["key"]))
    if reaction is None:
        return None
    return {"say": reaction.say, "goto": reaction.goto}


def _number(script: Script | None, node: str) -> int:
    """The reference counts menus; a node of ours has a name, most often a number."""
    if node.isdecimal() and len(node) < 9:
        return int(node)
    return 1 if script is None or node not in script.nodes else list(script.nodes).index(node) + 1
