"""The shapes of the OpenAPI document: pydantic's schemas of the contracts, made complete with the glossary's words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from bowerbird.gateway.api.glossary import UNITS, WORDS, Word
from bowerbird.gateway.api.operation import Operation

REF = "#/components/schemas/{model}"
_RANGES = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")

Schema = dict[str, Any]


def schemas(operations: Iterable[Operation], others: Iterable[type[BaseModel]]) -> dict[str, Schema]:
    """Every shape that an operation takes or answers with, by its name."""
    wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {}
    for each in operations:
        wanted |= {(body, "validation"): None for body in (each.body, each.also_body) if body}
        for body in (each.answer, each.accepted, *each.events):
            if body:
                wanted[body, "serialization"] = None
    wanted |= {(each, "serialization"): None for each in others}
    _, described = models_json_schema(list(wanted), ref_template=REF)
    defined: dict[str, Schema] = described["$defs"]
    for name, schema in defined.items():
        for field, shape in schema.get("properties", {}).items():
            complete(shape, word_of(name, field))
            unit = unit_of(name, field)
            if unit is not None and any(numbers_in(shape)):
                shape["x-unit"] = unit
    return defined


def unit_of(shape: str, field: str) -> str | None:
    """What a number under this name counts or measures; what is said of the shape's own field comes first."""
    for name in (f"{shape}.{field}", field):
        for unit, patterns in UNITS.items():
            if any(fnmatchcase(name, pattern) for pattern in patterns):
                return unit
    return None


def word_of(shape: str, field: str) -> Word | None:
    """What the glossary says of a field."""
    return WORDS.get(f"{shape}.{field}") or WORDS.get(field)


def complete(shape: Schema, word: Word | None) -> None:
    """Fills in what the field itself leaves unsaid: description, range, example."""
    if word is not None:
        shape.setdefault("description", word.description)
        for number in numbers_in(shape):
            if not any(key in number for key in _RANGES):
                number |= {k: v for k, v in (("minimum", word.minimum), ("maximum", word.maximum)) if v is not None}
    if "examples" not in shape and "$ref" not in shape:
        examples = _examples(shape, word)
        if examples:
            shape["examples"] = examples


def numbers_in(shape: Schema) -> Iterator[Schema]:
    """The field itself, or what it may be, where that is a number."""
    for each in (shape, *shape.get("anyOf", ())):
        if each.get("type") in ("integer", "number"):
            yield each


def _examples(shape: Schema, word: Word | None) -> list[Any]:
    """The first that there is of: the only value, one of the listed, the glossary's, the default."""
    if "const" in shape:
        return [shape["const"]]
    if word is not None and word.example is not None:
        return [word.example]
    for each in (shape, *shape.get("anyOf", ())):
        if "enum" in each:
            return [each["enum"][0]]
    if shape.get("default") is not None:
        return [shape["default"]]
    return [True] if shape.get("type") == "boolean" else []
