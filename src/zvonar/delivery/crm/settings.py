"""Which calls does an account want in its CRM, and how are they told there?"""

import re
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from zvonar.core.errors import Invalid
from zvonar.core.result import Disposition, ScriptResult
from zvonar.delivery.crm.outcomes import PUSHED, RESULTS, Language, Mapped, names

Unknown = Literal["skip", "contact", "lead", "unsorted"]
Id = Annotated[int, Meta(ge=1, lt=2**53)]

_E164: Final = re.compile(r"\+[1-9][0-9]{4,14}", re.ASCII)


class CrmSettingsInvalid(Invalid):
    """What is to be pushed to the CRM cannot be like this."""


class CrmSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What goes to the CRM. Stored as it is, without what is as by default."""

    language: Language = "ru"  # of the sentences on the cards
    each: Literal["call", "attempt"] = "call"  # one entry for a call that has ended, or one for each attempt
    push: tuple[str, ...] = PUSHED  # results that are pushed
    mapping: dict[str, Mapped] = {}  # by result, where our own map is not wanted
    source: Annotated[str, Meta(min_length=1, max_length=100)] = "Zvonar"  # of the calls
    employees: dict[str, Id] = {}  # E.164 → user id in the CRM: whose calls those of this number are
    responsible: Id | None = None  # user id: whose the other calls are
    recording: bool = True  # whether an entry links to its recording
    recording_days: Annotated[int, Meta(ge=1, le=3650)] | None = (
        None  # that the link is good for; None: for good
    )
    unknown: Unknown = "skip"  # what is done about a number that no card has
    pipeline_id: Id | None = None  # of new leads; None: the CRM's main one
    status_id: Id | None = None  # of new leads

    def wants(self, disposition: Disposition, script: ScriptResult) -> bool:
        """Whether this result is pushed."""
        return any(name in self.push for name in names(disposition, script))

    def checked(self) -> "CrmSettings":
        """Itself, or CrmSettingsInvalid."""
        if unknown := sorted({*self.push, *self.mapping} - RESULTS):
            raise CrmSettingsInvalid(
                f"There is no result {unknown[0][:60]!r}; results are {', '.join(sorted(RESULTS))}."
            )
        for mapped in self.mapping.values():
            if mapped.result is not None and not 0 < len(mapped.result) <= 255:
                raise CrmSettingsInvalid("A result's text has 1 to 255 characters.")
        for text in (self.source, *(mapped.result or "" for mapped in self.mapping.values())):
            if not text.isprintable():
                raise CrmSettingsInvalid("A text has printable characters only.")
        if any(not _E164.fullmatch(number) for number in self.employees):
            raise CrmSettingsInvalid("An employee's number is like +79161234567.")
        return self

    def document(self) -> dict[str, Any]:
        """As it is stored."""
        made = msgspec.to_builtins(self)
        assert isinstance(made, dict)
        return made


def read(stored: Any) -> CrmSettings:
    """Settings as they were stored, or CrmSettingsInvalid."""
    try:
        return msgspec.convert(stored, CrmSettings).checked()
    except msgspec.ValidationError as exc:
        raise CrmSettingsInvalid(f"{exc}.") from None
