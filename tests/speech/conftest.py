"""Where do the speech tests get their voice? From ZVONAR_TEST_ESPEAK (an argv prefix), else from the PATH."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from zvonar.speech.synthesis.espeak import EspeakEngine

VOICES = """Pty Language       Age/Gender VoiceName          File                 Other Languages
 5  ru              --/M      Russian            zle/ru
 2  en-gb           --/M      English            gmw/en               (en 2)
"""
VARIANTS = " 5  variant         --/F      female3            !v/f3\n"


@pytest.fixture(scope="session")
def espeak_command() -> list[str]:
    command = shlex.split(os.environ.get("ZVONAR_TEST_ESPEAK", ""))
    if not command and (found := shutil.which("espeak-ng")):
        command = [found]
    if not command:
        pytest.fail("No espeak-ng: install it or point ZVONAR_TEST_ESPEAK to one.")
    return command


@pytest.fixture(scope="session")
def espeak_version(espeak_command: list[str]) -> str:
    answer = subprocess.run(
        [*espeak_command, "--version"], capture_output=True, text=True, timeout=10, check=True
    )
    match = re.search(r"text-to-speech: (\S+)", answer.stdout)
    assert match, answer.stdout
    return match[1]


@pytest.fixture
def espeak(espeak_command: list[str], espeak_version: str) -> EspeakEngine:
    return EspeakEngine(espeak_command, os.environ, espeak_version)


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
