"""How well, and for how much, are words told apart on the line? Scored, and beside that decoded freely."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import psutil
from msgspec import Struct

from bench.ground import Ground, Report
from bench.results import Figure, NotMeasured, figure, percentile
from bench.spoken import MEASURED, NOISE_DB, NUMBERS, Part, Said, utterances
from zvonar.speech.recognition import RecogniserBusy, chosen, model, phrases
from zvonar.speech.recognition.echo import Prompt
from zvonar.speech.recognition.model import EngineMissing, ModelMissing
from zvonar.speech.recognition.pool import Pool
from zvonar.speech.recognition.whisper import Whisper
from zvonar.speech.recognition.wire import Score

RECOGNISERS, CALLERS, WAIT = 1, 24, 1.0  # processes; who speaks at once; seconds


class Size(Struct, frozen=True, kw_only=True):
    """How much is said."""

    voices: int = 3  # of a language, at most; recorded people come on top
    words: int = 3  # of each list, at most
    noises: int = len(NOISE_DB)


WHOLE = Size(voices=100, words=100)
TINY = Size(voices=1, words=1, noises=1)


class Judged(Struct, frozen=True, kw_only=True):
    """What was made of an utterance."""

    said: Said
    word: str | None  # by scores
    decoded: str | None  # by free decoding, read by whoever looks for the same words in it; several are none
    scores: dict[str, float]  # by word; empty where nobody was heard
    seconds: float  # of processor time


def measure(made: Ground, size: Size) -> list[Figure]:
    """Accuracy, false accepts and processor time; nothing where there is no model."""
    try:
        found = model.find(
            made.plant.settings.whisper_model, cache=made.plant.settings.cache_directory / "models"
        )
    except (ModelMissing, EngineMissing) as exc:
        made.report(f"words are not measured: {exc}")
        return []
    made.report("words: speaking and listening")
    judged = list(judge(Whisper(found), spoken(made, MEASURED, size)))
    made.report(f"words: {len(judged)} utterances")
    _voices(judged, made.report)
    _confusions(judged, made.report)
    return [*_figures(judged), *asyncio.run(_crowded(found, judged))]


def spoken(made: Ground, part: Part, size: Size) -> Iterator[Said]:
    """What is said in this part of the set. Raises NotMeasured."""
    asterisk = made.plant.fetch(made.report)
    if asterisk.espeak is None:
        raise NotMeasured("There is no espeak-ng.")
    yield from utterances(
        part, asterisk, asterisk.espeak, voices=size.voices, words=size.words, noises=size.noises
    )


def judge(whisper: Whisper, said: Iterable[Said]) -> Iterator[Judged]:
    """What is made of each; where a line was cut into several, of each cut, and the worst for us counts."""
    for one in said:
        tries = [_judged(whisper, one, cut) for cut in one.cuts] or [
            Judged(said=one, word=None, decoded=None, scores={}, seconds=0.0)
        ]
        if one.word is not None:
            yield tries[0]  # the line acts on what comes first
        else:
            yield next((tried for tried in tries if tried.word is not None), tries[0])


def _judged(whisper: Whisper, one: Said, cut: bytes) -> Judged:
    ways = [(word, phrase) for word in one.listened for phrase in phrases(word, one.language)]
    request = Score(pcm=cut, language=one.language, phrases=[phrase for _, phrase in ways])
    before = time.process_time()
    scores = whisper.scores(request).scores
    seconds = time.process_time() - before
    best: dict[str, float] = {}
    for (word, _), score in zip(ways, scores, strict=True):
        best[word] = max(score, best.get(word, score))
    heard = whisper.decoded(cut, one.language).lower().replace("ё", "е")
    read = set("".join(letter if letter.isalnum() else " " for letter in heard).split())
    decoded = {
        word
        for word, phrase in ways
        if phrase in read
        or (word in NUMBERS[one.language] and str(NUMBERS[one.language].index(word)) in read)
    }
    echo = one.prompt is not None and Prompt(one.prompt).echoed(cut)
    return Judged(
        said=one,
        word=None if echo else chosen(best),
        decoded=decoded.pop() if len(decoded) == 1 else None,
        scores=best,
        seconds=seconds,
    )


class _Share(Struct, frozen=True, kw_only=True):
    """Of some utterances of words that count, in per cent."""

    count: int
    right: float
    wrong: float
    decoded_right: float
    decoded_wrong: float


def _share(judged: Sequence[Judged]) -> _Share:
    def part(holds: Iterable[bool]) -> float:
        return 100 * sum(holds) / max(1, len(judged))

    return _Share(
        count=len(judged),
        right=part(one.word == one.said.word for one in judged),
        wrong=part(one.word not in (None, one.said.word) for one in judged),
        decoded_right=part(one.decoded == one.said.word for one in judged),
        decoded_wrong=part(one.decoded not in (None, one.said.word) for one in judged),
    )


def _voices(judged: Sequence[Judged], report: Report) -> None:
    known = [one for one in judged if one.said.word is not None]
    for language, voice in dict.fromkeys((one.said.language, one.said.voice) for one in known):
        its = [one for one in known if (one.said.language, one.said.voice) == (language, voice)]
        told = []
        for noise in NOISE_DB:
            share = _share([one for one in its if one.said.noise == noise])
            told.append(f"{noise:g} dB {share.right:.0f} % (decoded freely {share.decoded_right:.0f} %)")
        report(f"words: {language}, {voice}: {', '.join(told)} of {len(its)}")


def _confusions(judged: Sequence[Judged], report: Report) -> None:
    mistaken = Counter(
        (one.said.language, one.said.kind, one.said.word or one.said.text, one.word)
        for one in judged
        if one.word not in (None, one.said.word)
    )
    for (language, kind, said, taken), count in sorted(mistaken.items(), key=str):
        report(f"words: {language}, {kind}: «{said}» taken for «{taken}» {count} times")


def _figures(judged: Sequence[Judged]) -> list[Figure]:
    known = [one for one in judged if one.said.word is not None]
    nothing = [one for one in judged if one.said.word is None]
    figures = []
    for kind in ("people", "voices", "robots"):
        for language in ("ru", "en"):
            for noise in NOISE_DB:
                cell = [
                    one
                    for one in known
                    if (one.said.kind, one.said.language, one.said.noise) == (kind, language, noise)
                ]
                if not cell:
                    continue
                share = _share(cell)
                figures.append(
                    figure(
                        "words",
                        f"understood: {kind}, {language}, {noise:g} dB ({share.count})",
                        [share.right],
                        "%",
                        [share.decoded_right],
                        at_least_ratio=1.0 if share.decoded_right else None,
                    )
                )
    whole = _share(known)
    figures += [
        figure("words", f"understood: all ({whole.count})", [whole.right], "%", [whole.decoded_right]),
        figure("words", "taken for another word", [whole.wrong], "%", [whole.decoded_wrong], at_most=2.0),
    ]
    for name, kinds in (
        ("other words", {"people", "voices", "robots"}),
        ("echo of the prompt", {"echo"}),
        ("noise", {"noise"}),
        ("silence", {"silence"}),
    ):
        those = [one for one in nothing if one.said.kind in kinds]
        accepted = 100 * sum(one.word is not None for one in those) / max(1, len(those))
        decoded = 100 * sum(one.decoded is not None for one in those) / max(1, len(those))
        figures.append(
            figure("words", f"false accepts: {name} ({len(those)})", [accepted], "%", [decoded], at_most=2.0)
        )
    spent = [one.seconds for one in judged if one.scores]
    return [*figures, figure("words", "processor time an utterance", spent or [0.0], "s")]


async def _crowded(found: Path, judged: Sequence[Judged]) -> list[Figure]:
    """Many speak at once: how many recognisers work, and how long does one wait who gets none?"""
    [one, *_] = [one for one in judged if one.said.word is not None and one.said.cuts]
    most = 0
    waits: list[float] = []

    async def watch() -> None:
        nonlocal most
        while True:
            those = [child for child in psutil.Process().children() if _recognises(child)]
            most = max(most, len(those))
            await asyncio.sleep(0.02)

    async def call(pool: Pool) -> bool:
        began = time.monotonic()
        try:
            await pool.choose(one.said.cuts[0], one.said.listened, language=one.said.language)
        except RecogniserBusy:
            waits.append(time.monotonic() - began)
            return False
        return True

    async with Pool(model.command(found), model.environment(), size=RECOGNISERS, wait=WAIT) as pool:
        await pool.warm()
        watching = asyncio.create_task(watch())
        answered = sum(await asyncio.gather(*(call(pool) for _ in range(CALLERS))))
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
    figures = [
        figure("words", f"recognisers at once, {CALLERS} callers", [most], "", [RECOGNISERS], above=0.0),
        figure("words", "callers who were recognised", [answered], "", [CALLERS]),
    ]
    if waits:
        longest = percentile(waits, 100)
        figures.append(figure("words", "longest wait of the others", [longest], "s", [WAIT], above=0.5))
    return figures


def _recognises(child: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return "zvonar.speech.recognition.whisper" in child.cmdline()
    return False
