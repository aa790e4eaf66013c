"""How does a session look in get.mgf_calls? As its sample: each field made of what the store tells."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from zvonar.dialects.uis.mgf_fields import MADE, Colours

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


def renderer(fields: Sequence[str], colours: Colours) -> Callable[[bytes], bytes]:
    """Makes rows of these fields, in this order, of rows as the store tells them."""
    made = [(name, MADE[name].show) for name in fields]

    def render(row: bytes) -> bytes:
        stored = _decode(row)
        return _encode({name: show(stored, colours) for name, show in made})

    return render
