"""Is it a person or a machine that answered, and what is done with a machine? Settings and verdicts.

The settings are those of Asterisk's app_amd: it listens to the first words, and takes a long greeting for a machine.
"""

from enum import StrEnum

from msgspec import Struct

from zvonar.core.errors import SettingsInvalid


class Verdict(StrEnum):
    """Who answered, as far as it could be told."""

    human = "human"
    machine = "machine"
    unknown = "unknown"  # it could not be told in time


class OnMachine(StrEnum):
    """What is done with a machine."""

    hang_up = "hang_up"
    after_beep = "after_beep"  # its greeting is waited for, then the first prompt is left as a message
    go_on = "go_on"  # as with a person


class MachineDetection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A campaign's answering machine detection; milliseconds where nothing else is said."""

    on_machine: OnMachine = OnMachine.hang_up
    initial_silence: int = 2500  # of silence before the greeting that make a machine
    greeting: int = 1500  # of a greeting that is too long for a person
    after_greeting_silence: int = 800  # of silence after a greeting that make a person
    total_time: int = 5000  # after which it cannot be told
    minimum_word: int = 100  # of sound that count as a word
    between_words: int = 50  # of silence that part words
    maximum_words: int = 3  # more are a machine's
    silence_threshold: int = 256  # loudness below which sound is silence, 0 to 32767
    maximum_word: int = 5000  # of one sound that is too long for a person's word
    beep_silence: int = 1200  # of silence that mean that the machine has said all, its beep included
    beep_wait: int = 30  # seconds for that; then the message is left all the same

    def checked(self) -> "MachineDetection":
        """Self, or SettingsInvalid naming the setting."""
        for name, low, high in (
            ("initial_silence", 100, 20_000),
            ("greeting", 100, 20_000),
            ("after_greeting_silence", 100, 20_000),
            ("total_time", 500, 30_000),
            ("minimum_word", 20, 5000),
            ("between_words", 20, 5000),
            ("maximum_words", 1, 100),
            ("silence_threshold", 0, 32_767),
            ("maximum_word", 100, 30_000),
            ("beep_silence", 200, 10_000),
            ("beep_wait", 1, 120),
        ):
            if not low <= getattr(self, name) <= high:
                raise SettingsInvalid(f"{name} of machine detection is {low} to {high}.")
        return self

    @property
    def arguments(self) -> str:
        """As app_amd takes them."""
        return ",".join(
            str(value)
            for value in (
                self.initial_silence,
                self.greeting,
                self.after_greeting_silence,
                self.total_time,
                self.minimum_word,
                self.between_words,
                self.maximum_words,
                self.silence_threshold,
                self.maximum_word,
            )
        )
