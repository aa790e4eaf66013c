"""What does this API say of itself? An OpenAPI 3.1 document, made of the operations and structs that serve it."""

import ast
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any, Final, get_args, get_origin

import msgspec
from msgspec import Struct

from zvonar.dialects.autocall.errors import ErrorBody, InvalidBody
from zvonar.dialects.autocall.limits import MAX_BODY
from zvonar.dialects.autocall.operations import JSON, REPLAYED, Operation
from zvonar.dialects.autocall.requests.fields import NothingAsked

REF: Final = "#/components/schemas/{name}"
_PLACE = re.compile(r"\{(\w+)\}")
# What stands in the document where a test puts an id that it has made.
_SAMPLE_ID: Final = 1000000001

_ABOUT: Final = """Autocalls: calls of people by a text, by audio or by a scenario.

- **Key**: `Authorization: Bearer …`, printed by `zvonar account add`. 300 requests a minute, then 429.
- **Dates** are `Y-m-d`, `H:i:s` and `Y-m-d H:i:s` in the time zone of the account.
- **Errors** are `{"message"}`; 422 has `errors`, by field. Russian where `Accept-Language` prefers it.
- **Repeating a POST**: with the same `Idempotency-Key` and body it is done once and the answer is repeated, with
  `Idempotent-Replayed: true`, for 24 hours; another body under that key is refused with 409. A request that was
  refused has done nothing, and its key may be used again.
- **Callbacks** go to an autocall's `callback_url`: `{"autocall": …}` at every change of its status, `{"call": …}` after
  every try and at every other change of a call's status.
"""

_REFUSED: Final = {
    206: "A part of it, where a range was asked for.",
    304: "It has not changed.",
    401: "The key is missing or unknown.",
    402: "The balance does not cover it; nothing was done.",
    404: "There is no such thing in this account.",
    409: "The Idempotency-Key was used for another request, or the same one is still being worked on.",
    413: "The body is too large.",
    416: "There is no such part of it.",
    422: "Something is wrong with what was sent; nothing was done.",
    429: "Too many requests.",
    503: "The service is unavailable for a moment; nothing was done.",
}


def document(operations: Sequence[Operation], *, prefix: str, version: str) -> dict[str, Any]:
    """The whole document."""
    schemas = _schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(prefix + operation.path, {})[operation.method.lower()] = _operation(
            operation, schemas
        )
    tags = list(dict.fromkeys(operation.tag for operation in operations))
    described = {
        "openapi": "3.1.0",
        "info": {"title": "Zvonar: autocalls", "version": version, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in tags],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas.components,
        },
    }
    # As JSON has it: defaults are Python's own values so far.
    return dict(msgspec.json.decode(msgspec.json.encode(described)))


def filled(example: Any, ids: Mapping[str, int]) -> Any:
    """An example with ids where it says `{name}`; a text that is nothing else becomes a number."""
    match example:
        case str():
            whole = _PLACE.fullmatch(example)
            if whole and whole[1] in ids:
                return ids[whole[1]]
            return example
        case dict():
            return {name: filled(value, ids) for name, value in example.items()}
        case list():
            return [filled(value, ids) for value in example]
        case _:
            return example


class _Ids(dict[str, int]):
    """Any id, for readers."""

    def __contains__(self, name: object) -> bool:
        return str(name).endswith("_id")

    def __missing__(self, name: str) -> int:
        return _SAMPLE_ID


class _Schemas:
    """Every struct of the API as a JSON Schema."""

    def __init__(self, kinds: Sequence[Any]) -> None:
        found, self.components = msgspec.json.schema_components(kinds, ref_template=REF)
        self._of = {_key(kind): schema for kind, schema in zip(kinds, found, strict=True)}

    def of(self, kind: Any) -> dict[str, Any]:
        """The schema of a type, or the schema itself."""
        return dict(kind) if isinstance(kind, Mapping) else self._of[_key(kind)]

    def properties(self, kind: type[Struct]) -> dict[str, Any]:
        """The fields of a struct."""
        return dict(self.components[kind.__name__].get("properties", {}))


def _key(kind: Any) -> str:
    return str(kind)


def _schemas(operations: Sequence[Operation]) -> _Schemas:
    kinds: dict[str, Any] = {_key(kind): kind for kind in (ErrorBody, InvalidBody)}
    for operation in operations:
        wanted = [operation.query, operation.body, operation.answer, *operation.forms.values()]
        kinds |= {_key(kind): kind for kind in wanted if kind is not None and not isinstance(kind, Mapping)}
    schemas = _Schemas(list(kinds.values()))
    for kind in _structs(kinds.values()):
        properties = schemas.components.get(kind.__name__, {}).get("properties", {})
        for name, comment in comments_of(kind).items():
            if name in properties and "description" not in properties[name]:
                properties[name] = {**properties[name], "description": comment}
    schemas.components.pop(NothingAsked.__name__, None)
    for kind in {operation.query for operation in operations} - {NothingAsked}:
        schemas.components[kind.__name__]["description"] = "Parameters of a query."
    return schemas


def _operation(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": [*_path(operation), *_query(operation, schemas), *_headers(operation)],
        "responses": _responses(operation, schemas),
    }
    if operation.about:
        described["description"] = operation.about
    if operation.public:
        described["security"] = []
    if (content := _content(operation, schemas)) is not None:
        described["requestBody"] = content
    return described


def _path(operation: Operation) -> list[dict[str, Any]]:
    found = []
    for name in _PLACE.findall(operation.path):
        schema: dict[str, Any] = {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}
        sample: Any = _SAMPLE_ID
        if not name.endswith("_id"):
            schema, sample = {"type": "string", "minLength": 1, "maxLength": 40}, "+70001230001"
        found.append({"name": name, "in": "path", "required": True, "schema": schema, "example": sample})
    return found


def _query(operation: Operation, schemas: _Schemas) -> list[dict[str, Any]]:
    if operation.query is NothingAsked:
        return []
    found = []
    for name, schema in schemas.properties(operation.query).items():
        # No query says null; what is left out does not filter.
        kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
        plain = {key: value for key, value in schema.items() if key not in ("anyOf", "description")}
        if plain.get("default", ...) is None:
            del plain["default"]
        plain |= kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {}
        parameter = {"name": name, "in": "query", "required": False, "schema": plain}
        if "description" in schema:
            parameter["description"] = schema["description"]
        if samples := {
            example.name: {"value": example.query[name]}
            for example in operation.examples
            if name in example.query
        }:
            parameter["examples"] = samples
        found.append(parameter)
    return found


def _headers(operation: Operation) -> list[dict[str, Any]]:
    if operation.method != "POST" or operation.public:
        return []
    return [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "Names this request, so that it may be repeated and is done once.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]{1,255}$"},
        }
    ]


def _content(operation: Operation, schemas: _Schemas) -> dict[str, Any] | None:
    forms = {JSON: operation.body} if operation.body is not None else dict(operation.forms)
    if not forms:
        return None
    content: dict[str, Any] = {kind: {"schema": schemas.of(schema)} for kind, schema in forms.items()}
    samples = {
        example.name: {"value": filled(example.body, _Ids())}
        for example in operation.examples
        if example.body is not None
    }
    if samples and JSON in content:
        content[JSON]["examples"] = samples
    described: dict[str, Any] = {"required": True, "content": content}
    if operation.longest != MAX_BODY:
        described["description"] = f"At most {operation.longest // 1_000_000} MB."
    return described


def _responses(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status in sorted(operation.statuses):
        if status == operation.status:
            found[str(status)] = _success(operation, schemas)
        elif status in (206, 304, 416):
            content = {operation.content_type: {"schema": _BYTES}} if status == 206 else None
            found[str(status)] = {
                "description": _REFUSED[status],
                **({"content": content} if content else {}),
            }
        else:
            found[str(status)] = _refusal(status, schemas)
    return found


_BYTES: Final = {"type": "string", "format": "binary"}


def _success(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {"description": HTTPStatus(operation.status).phrase}
    if operation.answer is not None:
        described["content"] = {JSON: {"schema": schemas.of(operation.answer)}}
    elif operation.status != HTTPStatus.NO_CONTENT:
        kind = {"type": "string"} if operation.content_type.startswith("text/") else _BYTES
        described["content"] = {operation.content_type: {"schema": kind}}
    if operation.method == "POST" and not operation.public:
        described["headers"] = {
            REPLAYED: {
                "description": "Whether this was answered before, to the same request.",
                "schema": {"type": "string", "enum": ["true"]},
            }
        }
    return described


def _refusal(status: int, schemas: _Schemas) -> dict[str, Any]:
    kind = InvalidBody if status == HTTPStatus.UNPROCESSABLE_ENTITY else ErrorBody
    described: dict[str, Any] = {
        "description": _REFUSED[status],
        "content": {JSON: {"schema": schemas.of(kind)}},
    }
    if status in (429, 503):
        described["headers"] = {
            "Retry-After": {"description": "seconds", "schema": {"type": "string", "pattern": r"^\d+$"}}
        }
    return described


def _structs(kinds: Iterable[Any]) -> list[type[Struct]]:
    """Every struct that these types are made of."""
    found: dict[type[Struct], None] = {}
    ahead = list(kinds)
    while ahead:
        kind = ahead.pop()
        if get_origin(kind) is not None:
            ahead += [get_origin(kind), *get_args(kind)]
        elif isinstance(kind, type) and issubclass(kind, Struct) and kind not in found:
            found[kind] = None
            ahead += [field.type for field in msgspec.structs.fields(kind)]
    return list(found)


@cache
def comments_of(kind: type[Struct]) -> dict[str, str]:
    """What stands behind a struct's fields in the code: their units and meanings."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        try:
            source = textwrap.dedent(inspect.getsource(base))
            tree = ast.parse(source).body[0]
        except (OSError, TypeError, IndentationError):
            continue
        if not isinstance(tree, ast.ClassDef):
            continue
        said = {
            token.start[0]: token.string.lstrip("# ").strip()
            for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type == tokenize.COMMENT
        }
        for line in tree.body:
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                comment = said.get(line.end_lineno or line.lineno)
                # Marks of what is known how well are for those who read the code.
                if comment:
                    found[line.target.id] = re.sub(r"\s*\[[A-Z]\]", "", comment)
    return found
