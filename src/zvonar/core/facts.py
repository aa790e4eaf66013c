"""What happened on a line, beyond the triple of its result? Kept with the attempt or the inbound session, for reports.

A call in which one prompt was played and nothing else has none. Times are seconds from the answer of the call.
"""

from enum import StrEnum

from msgspec import Struct

from zvonar.core.machine import Verdict
from zvonar.core.result import Disposition


class Kind(StrEnum):
    """What a scenario did at some time."""

    machine = "machine"  # listened for an answering machine
    play = "play"
    menu = "menu"  # a prompt, and a key or a word awaited
    entry = "entry"  # a prompt, and digits awaited
    dictation = "dictation"
    transfer = "transfer"


class Operation(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One operation of a scenario."""

    kind: Kind
    began: float
    ended: float
    node: str | None = None  # of the script
    choice: str | None = None  # what was chosen in a menu


class MachineReport(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was found out about who answered."""

    verdict: Verdict
    cause: str | None = None  # in the detector's own words, such as LONGGREETING-1500-1500


class TransferReport(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a transfer."""

    to: str  # the phone, E.164, or the SIP name
    began: float
    ended: float
    disposition: Disposition  # of the second leg
    answered: float | None = None
    talk_seconds: int = 0  # rounded up
    leg: str | None = None  # id of the second leg; None where none was placed
    recording: str | None = None  # file name of the second leg's


class CallFacts(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything that is known."""

    direction: str = "out"  # out; in: the subscriber called us
    machine: MachineReport | None = None
    operations: tuple[Operation, ...] = ()  # in their order
    transfers: tuple[TransferReport, ...] = ()  # in their order; each is an operation, too
