"""Where does an utterance begin and end? Frames in, whole utterances out; nothing else is known of the line."""

from collections import deque
from typing import Final

import numpy as np
import webrtcvad  # type: ignore[import-untyped]

RATE: Final = 8000
FRAME_MS: Final = 20
_MODE: Final = 2  # of webrtcvad, 0 to 3: how readily it takes sound for noise
_FLOOR: Final = 150.0  # level below which nobody speaks
# The detector takes the first second of any noise for speech, so whoever speaks also has to be louder than the line.
_ABOVE: Final = 1.8  # times the quietest frame of late: 5 dB
_LATE: Final = 150  # frames: longer than a word goes on without a gap
_BEGINS: Final = 3  # voiced frames among the last five that begin an utterance
_LOOKS: Final = 5
_BEFORE: Final = 12  # frames kept from before it, so that no soft consonant is cut
_QUIET: Final = 20  # unvoiced frames that end it: 400 ms
_SHORTEST: Final = 4  # voiced frames of what may be a word; a click has fewer
_LONGEST: Final = 200  # frames: whoever speaks for four seconds is not saying a word


def _level(frame: bytes) -> float:
    """Root mean square of a frame, of 32768."""
    samples = np.frombuffer(frame, dtype="<i2").astype(np.float32)
    return float(np.sqrt(np.mean(samples * samples)))


class Endpointer:
    """Cuts one line's sound into utterances."""

    def __init__(self) -> None:
        self._vad = webrtcvad.Vad(_MODE)
        self._recent: deque[bool] = deque(maxlen=_LOOKS)
        self._before: deque[bytes] = deque(maxlen=_BEFORE)
        self._levels: deque[float] = deque(maxlen=_LATE)
        self._frames: list[bytes] = []
        self._voiced = 0
        self._quiet = 0

    def feed(self, frame: bytes) -> bytes | None:
        """The utterance that this frame of 20 ms ends, s16le; None as long as there is none."""
        level = _level(frame)
        self._levels.append(level)
        loud = level >= max(_FLOOR, min(self._levels) * _ABOVE)
        voiced = bool(self._vad.is_speech(frame, RATE)) and loud
        if not self._frames:
            self._before.append(frame)
            self._recent.append(voiced)
            if sum(self._recent) >= _BEGINS:
                self._frames = list(self._before)
                self._voiced, self._quiet = sum(self._recent), 0
            return None
        self._frames.append(frame)
        self._voiced += voiced
        self._quiet = 0 if voiced else self._quiet + 1
        if self._quiet < _QUIET and len(self._frames) < _LONGEST:
            return None
        said = b"".join(self._frames)
        enough = self._voiced >= _SHORTEST
        self._frames, self._voiced = [], 0
        self._recent.clear()
        self._before.clear()
        return said if enough else None
