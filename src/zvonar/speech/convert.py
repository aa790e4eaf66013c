"""What does the process do that decodes an outsider's file? `python -m zvonar.speech.convert LONGEST_MS <file >wav`.

Its exit code is `REJECTED` and the rejection's place among `REJECTIONS`; anything else but 0 is a decoder that failed.
"""

import os
import resource
import sys
from typing import Final

from zvonar.speech.formats import REJECTIONS, AudioRejected, AudioTooCostly

REJECTED: Final = 32  # the first exit code of ours
MOST_MEMORY: Final = (
    768 << 20
)  # bytes of address space; the libraries alone reserve 300 MB, half an hour needs 200
MOST_SECONDS: Final = 30  # of a processor; half an hour of 48 kHz stereo takes about 5
MOST_OUTPUT: Final = 64 << 20  # bytes


def main() -> int:
    """Standard input is a seekable file, standard output a file."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_OUTPUT, MOST_OUTPUT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the recording
    os.nice(10)  # calls in progress come first
    try:
        # Imported within the limits: they are the decoders.
        from zvonar.speech.audio import write_wav
        from zvonar.speech.uploads import read_upload

        with os.fdopen(0, "rb") as source:
            sound = read_upload(source, longest_ms=int(sys.argv[1]))
        with os.fdopen(1, "wb") as target:
            write_wav(sound, target)
    except AudioRejected as rejection:
        return REJECTED + REJECTIONS.index(type(rejection))
    except MemoryError:
        return REJECTED + REJECTIONS.index(AudioTooCostly)
    return 0


if __name__ == "__main__":
    os._exit(main())  # at once: what a damaged file left in the decoders is not to be taken down in order
