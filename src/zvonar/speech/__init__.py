"""How does the platform talk? Text becomes clips, uploads become clips, and each failure has a name."""

from zvonar.core.errors import ZvonarError


class SpeechFailed(ZvonarError):
    """Speech could not be produced."""

    # No detail, here or in a subclass, holds the text that was to be spoken: messages are logged.


class AudioMissing(SpeechFailed):
    """The audio is not there."""
