"""What is there without a whisper model? No words, no transcripts, and a doctor who says so; never an error."""

from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from zvonar.core.leg import Leg
from zvonar.line.tap import Tapping
from zvonar.service import doctor, hearing
from zvonar.service.doctor import State
from zvonar.service.hearing import HearingConfig
from zvonar.service.home import Home
from zvonar.service.plant import Plant
from zvonar.settings import Settings
from zvonar.speech.recognition import model
from zvonar.speech.recognition.model import ModelMissing

NOWHERE = HearingConfig(
    model=None,
    recognisers=1,
    wait=1.0,
    transcribe_url=None,
    transcribe_key=None,
    transcribe_model="whisper-1",
)


class Deaf:
    """Nobody may be listened to."""

    @asynccontextmanager
    async def tap(self, leg: Leg) -> Any:
        raise AssertionError(leg)
        yield


@pytest.fixture
def no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "_PARTS", ("zvonar_has_no_such_package", "zvonar_has_no_such_package"))


def plant(tmp_path: Path, **settings: Any) -> Plant:
    made = Settings(home=tmp_path, cache=tmp_path, **settings)
    return Plant(made, Home(tmp_path))


@pytest.mark.usefixtures("no_packages")
def test_doctor_says_that_neither_words_nor_transcripts_are_there(tmp_path: Path) -> None:
    words, transcripts = doctor._words(plant(tmp_path)), doctor._transcripts(plant(tmp_path))
    assert (words.state, transcripts.state) == (State.warn, State.warn)
    assert "There is no whisper model" in words.message
    assert "no transcripts" in transcripts.message
    assert "zvonar[whisper]" in (words.remedy or "")
    assert "ZVONAR_TRANSCRIBE_URL" in (transcripts.remedy or "")


@pytest.mark.usefixtures("no_packages")
def test_a_service_for_transcripts_needs_no_model(tmp_path: Path) -> None:
    served = plant(tmp_path, transcribe_url="http://127.0.0.1:9/v1")
    assert doctor._transcripts(served).state is State.ok
    assert doctor._words(served).state is State.warn


@pytest.mark.usefixtures("no_packages")
def test_without_packages_there_is_no_model_and_that_is_no_error(tmp_path: Path) -> None:
    assert hearing.model_of(None, cache=tmp_path) is None
    assert not NOWHERE.transcribes


def test_a_model_that_was_named_and_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing):
        hearing.model_of(tmp_path, cache=tmp_path)
    said = doctor._words(plant(tmp_path, whisper_model=tmp_path))
    assert (said.state, "has no model.bin" in said.message) == (State.warn, True)


@pytest.mark.parametrize("broken", ["empty", "other"])
def test_packages_without_their_data_or_with_other_data_are_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    for number in (1, 2):
        package = tmp_path / f"zvonar_odd_part{number}"
        package.mkdir()
        (package / "__init__.py").touch()
        if broken == "other":
            (package / "data").mkdir()
            (package / f"data/model.bin.part{number}").write_bytes(b"weights of something else")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(model, "_PARTS", ("zvonar_odd_part1", "zvonar_odd_part2"))
    with pytest.raises(ModelMissing):
        model.find(None, cache=tmp_path / "cache")
    assert not list(tmp_path.glob("cache/*"))


@pytest.mark.asyncio
async def test_nobody_listens_and_nobody_writes() -> None:
    taps: Tapping = Deaf()
    async with hearing.ears(NOWHERE, taps) as ears, hearing.transcriber(NOWHERE) as transcriber:
        assert ears is None
        assert transcriber is None
