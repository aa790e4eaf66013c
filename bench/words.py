"""How well, and for how much, are words told apart on the line? Scored, and beside that decoded freely."""

import tempfile
import time
from collections import Counter
from pathlib import Path

from msgspec import Struct

from bench.ground import Ground
from bench.results import Figure, NotMeasured, figure
from bench.speech import RATE, Speaker, said, speakers, telephone
from zvonar.speech.recognition import chosen, model, phrases
from zvonar.speech.recognition.endpoint import FRAME_MS, Endpointer
from zvonar.speech.recognition.model import EngineMissing, ModelMissing
from zvonar.speech.recognition.whisper import Whisper
from zvonar.speech.recognition.wire import Score

FRAME = RATE * FRAME_MS // 1000 * 2
NOISE_DB = (25.0, 15.0)  # below the voice

# What is listened for, and what somebody may say instead.
WORDS = {
    "ru": ("yes", "no", "next", "back", "оператор", "повторите"),
    "en": ("yes", "no", "next", "back", "operator", "repeat"),
}
OTHERS = {
    "ru": ("спасибо", "хорошо", "алло", "перезвоните завтра", "сколько", "вода"),
    "en": ("thank you", "hello", "call me tomorrow", "maybe", "how much", "water"),
}


class Size(Struct, frozen=True, kw_only=True):
    """How much is said."""

    speakers: int = 100  # at most
    words: int = 100  # of each list, at most
    noises: int = len(NOISE_DB)


TINY = Size(speakers=1, words=1, noises=1)


class _Utterance(Struct, frozen=True, kw_only=True):
    language: str
    word: str | None  # as the script has it; None: none of those that count
    text: str
    pcm: bytes


def measure(made: Ground, size: Size) -> list[Figure]:
    """Accuracy, false accepts and processor time; nothing where there is no model."""
    try:
        found = model.find(
            made.plant.settings.whisper_model, cache=made.plant.settings.cache_directory / "models"
        )
    except (ModelMissing, EngineMissing) as exc:
        made.report(f"words are not measured: {exc}")
        return []
    made.report("words: speaking")
    utterances = _spoken(made, size)
    made.report(f"words: {len(utterances)} utterances")
    return _judged(Whisper(found), utterances)


def _spoken(made: Ground, size: Size) -> list[_Utterance]:
    asterisk = made.plant.fetch(made.report)
    if asterisk.espeak is None:
        raise NotMeasured("There is no espeak-ng.")
    found: list[_Utterance] = []
    with tempfile.TemporaryDirectory() as room:
        for number, speaker in enumerate(speakers()[: size.speakers]):
            for word, text in _texts(speaker, size):
                sound = said(speaker, text, asterisk.espeak, Path(room))
                for noise in NOISE_DB[: size.noises]:
                    pcm = telephone(sound, noise_db=noise, seed=number)
                    found.append(_Utterance(language=speaker.language, word=word, text=text, pcm=_cut(pcm)))
    return found


def _texts(speaker: Speaker, size: Size) -> list[tuple[str | None, str]]:
    language = speaker.language
    known = [(word, phrases(word, language)[0]) for word in WORDS[language][: size.words]]
    return [*known, *((None, text) for text in OTHERS[language][: size.words])]


def _cut(pcm: bytes) -> bytes:
    """What the endpointer makes of it, as on a line; nothing where it hears nobody."""
    cutter = Endpointer()
    cuts = (cutter.feed(pcm[at : at + FRAME]) for at in range(0, len(pcm) - FRAME + 1, FRAME))
    return next((cut for cut in cuts if cut is not None), b"")


def _judged(whisper: Whisper, utterances: list[_Utterance]) -> list[Figure]:
    counts: Counter[str] = Counter()
    seconds: list[float] = []
    for one in utterances:
        said_as = [(word, phrase) for word in WORDS[one.language] for phrase in phrases(word, one.language)]
        request = Score(pcm=one.pcm, language=one.language, phrases=[phrase for _, phrase in said_as])
        if not one.pcm:
            counts["known" if one.word else "other"] += 1
            continue
        before = time.process_time()
        scores = whisper.scores(request).scores
        seconds.append(time.process_time() - before)
        best: dict[str, float] = {}
        for (word, _), score in zip(said_as, scores, strict=True):
            best[word] = max(score, best.get(word, score))
        word = chosen(best)
        # Free decoding, read by whoever looks for the same words in it.
        heard = whisper.scores(request, free=True).heard.lower().replace("ё", "е")
        decoded = {
            name for name, phrase in said_as if phrase in heard.replace(".", " ").replace(",", " ").split()
        }
        if one.word is None:
            counts["other"] += 1
            counts["other accepted"] += word is not None
            counts["other decoded"] += bool(decoded)
        else:
            counts["known"] += 1
            counts["right"] += word == one.word
            counts["wrong"] += word is not None and word != one.word
            counts["decoded right"] += decoded == {one.word}
            counts["decoded wrong"] += bool(decoded) and decoded != {one.word}
    known, other = max(1, counts["known"]), max(1, counts["other"])

    def share(name: str, of: int) -> list[float]:
        return [100 * counts[name] / of]

    return [
        figure("words", "understood", share("right", known), "%", share("decoded right", known)),
        figure("words", "taken for another word", share("wrong", known), "%", share("decoded wrong", known)),
        figure("words", "false accepts", share("other accepted", other), "%", share("other decoded", other)),
        figure("words", "processor time an utterance", seconds or [0.0], "s"),
    ]
