"""How does a file of sound come into its place? Complete or not at all, whenever the process or the machine dies."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from zvonar.speech import SpeechFailed


class ClipNotStored(SpeechFailed):
    """The audio could not be written: check that the clip directory exists and belongs to this user."""


class ClipStorageFull(ClipNotStored):
    """The disk with the clips is full: free some space or lower the cache's size."""


@contextmanager
def stored() -> Iterator[None]:
    """What the disk refuses, as the errors above."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise (ClipStorageFull if full else ClipNotStored)(f"{error.strerror}.") from error


@contextmanager
def whole_file(path: Path, directory: Path) -> Iterator[BinaryIO]:
    """A file that appears as `path`, in folders below `directory`, once the block has ended well.

    Raises ClipNotStored, ClipStorageFull.
    """
    with stored():
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)  # prompts name people and sums
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, part = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                # Else a power cut may keep the name and lose the bytes. The folder needs none: a lost name is
                # written again.
                os.fsync(file.fileno())
            Path(part).replace(path)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise
