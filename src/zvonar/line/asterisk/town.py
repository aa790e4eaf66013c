"""Who lives in the trial phone network, and what did they hear of us?

The town is a second Asterisk whose dialplan (`conf/town/extensions.conf`) plays subscribers: real SIP, real
sound, RFC 4733 digits. It also counts, at the callee, how many INVITEs each leg sent.
"""

import io
import os
import subprocess
from collections import Counter
from pathlib import Path

from zvonar.core.errors import ZvonarError
from zvonar.line.asterisk import config
from zvonar.line.asterisk.config import Rendered, TownConfig
from zvonar.line.asterisk.install import AsteriskInstall, Espeak

RATE = 8000  # samples per second of a telephone
STEP = 0.4  # seconds of silence per step of [listen] in the dialplan
VOICES = ("ru-lv", "ru")  # of espeak-ng, the one that is understood best first; older ones have no ru-lv
SPEAK_DEADLINE = 20  # seconds for one word


class TownUnavailable(ZvonarError):
    """The town cannot be built without espeak-ng, which speaks for its people: install espeak-ng."""


def number(subscriber: int, ring: int, digit: int) -> str:
    """+7000 AAAA RR D: subscriber 0–9999, seconds of ringing 0–99, what happens then (see the design)."""
    if not (0 <= subscriber <= 9999 and 0 <= ring <= 99 and 0 <= digit <= 9):
        raise ValueError(f"no such town number: {subscriber}, {ring}, {digit}")
    return f"+7000{subscriber:04d}{ring:02d}{digit}"


def write(town: TownConfig, install: AsteriskInstall, home: Path) -> Rendered:
    """Configuration and voices of the town under `home` (…/town). Raises TownUnavailable, ConfigRefused."""
    if install.espeak is None:
        raise TownUnavailable
    rendered = config.write_town(town, install, home)
    _write_sounds(rendered.home / "sounds", install.espeak)
    return rendered


def invites(home: Path) -> dict[str, int]:
    """How many INVITEs arrived, by leg id (the X-Zvonar-Leg header; `-` where there was none)."""
    try:
        with (home / "log/invites.log").open(encoding="ascii") as lines:
            return dict(Counter(line.split()[1] for line in lines if line.endswith("\n")))
    except FileNotFoundError:
        return {}  # nobody has called yet


def _write_sounds(directory: Path, espeak: Espeak) -> None:
    # Sound libraries weigh megabytes, and only this needs them.
    import numpy
    import soundfile  # type: ignore[import-untyped]
    import soxr  # type: ignore[import-untyped]

    quiet, yes = directory / "quiet.wav", directory / "yes.wav"
    if not quiet.exists():
        soundfile.write(quiet, numpy.zeros(int(RATE * STEP), dtype="int16"), RATE, subtype="PCM_16")
    if not yes.exists():
        for voice in VOICES:
            spoken = subprocess.run(
                [*espeak.command, "-v", voice, "-s", "150", "-p", "45", "--stdout", "да"],
                check=False,  # the code is looked at below, with the words
                env={**os.environ, **espeak.env},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=SPEAK_DEADLINE,
            )
            if spoken.returncode == 0 and spoken.stdout:
                break
        if spoken.returncode != 0:
            raise TownUnavailable(spoken.stderr.decode(errors="replace").strip()[:200])
        samples, rate = soundfile.read(io.BytesIO(spoken.stdout), dtype="float32")
        fresh = yes.with_suffix(".new")
        soundfile.write(fresh, soxr.resample(samples, rate, RATE), RATE, subtype="PCM_16", format="WAV")
        fresh.replace(yes)
