"""Where do the speech tests get their voice? From the packages that the setup fetches."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from zvonar.line.asterisk.install import AsteriskInstall, Espeak, ensure
from zvonar.speech.synthesis.espeak import EspeakEngine

from ..plant import CACHE

VOICES = """Pty Language       Age/Gender VoiceName          File                 Other Languages
 5  ru              --/M      Russian            zle/ru
 2  en-gb           --/M      English            gmw/en               (en 2)
"""
VARIANTS = " 5  variant         --/F      female3            !v/f3\n"


@pytest.fixture(scope="session")
def asterisk(tmp_path_factory: pytest.TempPathFactory) -> AsteriskInstall:
    """What `zvonar setup` fetches, with the prompts that people have recorded for it."""
    return ensure(tmp_path_factory.mktemp("voice"), CACHE, print)


@pytest.fixture(scope="session")
def installed(asterisk: AsteriskInstall) -> Espeak:
    """The espeak-ng that comes with it: a bare machine has no other."""
    assert asterisk.espeak is not None
    return asterisk.espeak


@pytest.fixture
def espeak(installed: Espeak) -> EspeakEngine:
    return EspeakEngine(installed.command, {**os.environ, **installed.env}, installed.version)


@pytest.fixture
def engine_script(tmp_path: Path) -> Callable[[str], list[str]]:
    """An engine that lists two voices and, asked to speak, runs the given shell commands."""

    def write(speak: str) -> list[str]:
        (tmp_path / "voices").write_text(VOICES)
        (tmp_path / "variants").write_text(VARIANTS)
        script = tmp_path / "engine"
        script.write_text(
            "#!/bin/sh\n"
            f"cd '{tmp_path}'\n"
            'case "$1" in\n'
            "--voices) cat voices ;;\n"
            "--voices=variant) cat variants ;;\n"
            f"*) {speak} ;;\n"
            "esac\n"
        )
        return ["/bin/sh", str(script)]

    return write
