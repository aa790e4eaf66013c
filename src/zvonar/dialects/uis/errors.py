"""What does a UIS client read when something is wrong? The vendor's catalogue, always with HTTP 200."""

import json
from importlib.resources import files
from typing import Any

import msgspec
from msgspec import Struct

from zvonar.core.errors import ZvonarError


class _Entry(Struct, frozen=True, kw_only=True):
    code: int
    message: str  # a template over the params of the error


CATALOGUE = msgspec.json.decode(
    files("zvonar.dialects.uis").joinpath("errors.json").read_bytes(), type=dict[str, _Entry]
)

# The vendor's spelling; another of its brands corrects it.
BATCH = "batch_opreations_not_supported"


class RpcError(ZvonarError):
    """A request that is answered with an error of the catalogue."""

    def __init__(
        self, mnemonic: str, *, field: str | None = None, value: object = None, **params: object
    ) -> None:
        entry = CATALOGUE[mnemonic]
        super().__init__(mnemonic)
        self.mnemonic = mnemonic
        self.code = entry.code
        self.message = entry.message.format(**params)
        self.field = field  # with dots: sort.field
        self.value = value  # the client's own; None where it sent none
        self.params = params

    def document(self, metadata: dict[str, Any] | None) -> dict[str, Any]:
        """The `error` of an answer, keys in the reference's order; absent ones are left out."""
        data: dict[str, Any] = {"mnemonic": self.mnemonic}
        if self.field is not None:
            data["field"] = self.field
        if self.value is not None:
            data["value"] = _as_string(self.value)
        if self.params:
            data["params"] = self.params
        if metadata is not None:
            data["metadata"] = metadata
        return {"code": self.code, "message": self.message, "data": data}


def _as_string(value: object) -> str:
    # "The user's value unchanged, typed string"; msgspec cannot write numbers beyond 64 bits.
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
