"""What has to be spoken, and what is there already? Markup as stretches of plain words, pauses and clips.

Numbers become words here, and whatever is said in one manner is one stretch, so that a voice can shape the sentence.
"""

from collections.abc import Sequence

from msgspec import Struct

from zvonar.core.markup import ClipRef, Manner, Part, Pause
from zvonar.speech.numerals import words


class Utterance(Struct, frozen=True, kw_only=True):
    """Words to be spoken at once."""

    text: str
    manner: Manner
    alone: bool  # nothing else is heard, so it has to be speakable


Sounding = Utterance | Pause | ClipRef


def utterances(parts: Sequence[Part], language: str) -> list[Sounding]:
    """The parts of a text in their order. `language`: of the voice."""
    found: list[Pause | ClipRef | tuple[str, Manner]] = []
    for part in parts:
        if isinstance(part, Pause | ClipRef):
            found.append(part)
            continue
        text = words(part, language)
        last = found[-1] if found else None
        if isinstance(last, tuple) and last[1] == part.manner:
            found[-1] = (_spaced(last[0], text), part.manner)
        else:
            found.append((text, part.manner))
    alone = len(found) == 1
    return [
        Utterance(text=one[0], manner=one[1], alone=alone) if isinstance(one, tuple) else one
        for one in found
        # Between two tags there may be nothing but punctuation.
        if alone or not isinstance(one, tuple) or any(map(str.isalnum, one[0]))
    ]


def _spaced(before: str, after: str) -> str:
    """A number's words are words of their own, whatever stands beside it."""
    if before[-1:].isalnum() and after[:1].isalnum():
        return f"{before} {after}"
    return before + after
