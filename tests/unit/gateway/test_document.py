"""The OpenAPI document is complete, the one that is checked in, and breaks no client of the last release."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bowerbird import errors
from bowerbird.errors import BowerbirdError
from bowerbird.gateway.api import glossary
from bowerbird.gateway.api.openapi import document, text
from bowerbird.gateway.api.openapi_links import LINKS
from bowerbird.gateway.api.openapi_schemas import numbers_in
from bowerbird.gateway.api.operations import OPERATIONS

from ...oasdiff import breaking_changes, needs_oasdiff

DOCUMENTS = Path(__file__).parents[3] / "services"
Field = tuple[str, str, dict[str, Any]]

WITHOUT_RANGE = {"Score.value", "Score.minimum", "Score.maximum", "ImageFacts.total"}
"""A measure states its own range, in its answer."""

NOT_ANSWERED = {
    *("backend_missing", "bundle_invalid", "bundle_too_large", "certificate_invalid", "policy_invalid"),
    *("species_list_invalid", "grant_stale", "backup_invalid", "database_not_empty", "bundle_unavailable"),
}
"""Codes of what keeps a process from its start, of what is settled between processes, and of backups."""


def fields() -> Iterator[Field]:
    """Shape, name and schema of every field."""
    for shape, schema in document()["components"]["schemas"].items():
        for name, field in schema.get("properties", {}).items():
            yield shape, name, field


def missing(lacks: list[str]) -> None:
    assert not lacks, "say it in the field, or in bowerbird/gateway/api/glossary.py: " + ", ".join(lacks)


def test_every_field_is_described() -> None:
    missing([f"{shape}.{name}" for shape, name, field in fields() if len(field.get("description", "")) < 3])


def test_every_number_has_a_range_and_a_unit() -> None:
    numbers = [(f"{shape}.{name}", field) for shape, name, field in fields() if [*numbers_in(field)]]
    ranges = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "enum", "const")
    missing(
        [
            name
            for name, field in numbers
            if name not in WITHOUT_RANGE and not all(any(key in each for key in ranges) for each in numbers_in(field))
        ]
    )
    missing([f"{name} (UNITS)" for name, field in numbers if "x-unit" not in field])


def test_every_field_that_may_be_left_out_says_what_it_is_then() -> None:
    shapes = document()["components"]["schemas"]
    left_out = [each for each in fields() if each[1] not in shapes[each[0]].get("required", ())]
    missing([f"{shape}.{name}" for shape, name, field in left_out if "default" not in field])
    assert left_out


def test_every_leaf_has_an_example_that_it_accepts() -> None:
    import jsonschema_rs

    components = {"components": document()["components"]}
    lacks, wrong = [], []
    for shape, name, field in fields():
        if "examples" not in field:
            lacks += [f"{shape}.{name}"] if is_leaf(field) else []
        elif not all(jsonschema_rs.is_valid({**field, **components}, each) for each in field["examples"]):
            wrong.append(f"{shape}.{name}: {field['examples']}")
    missing(lacks)
    assert not wrong


def is_leaf(field: dict[str, Any]) -> bool:
    """Whether its value is its own and not always null, and not another shape with fields of its own."""
    return "$ref" not in json.dumps(field) and field.get("type") != "object" and "Always null" not in str(field)


def test_every_parameter_is_described_and_has_an_example() -> None:
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            for each in operation.get("parameters", []):
                assert each["description"], (path, method, each["name"])
                assert each["example"] is not None, (path, method, each["name"])


def test_every_error_that_a_client_can_meet_is_listed_with_its_code_and_an_example() -> None:
    listed: Counter[str] = Counter()
    examples = document()["components"]["examples"]
    for methods in document()["paths"].values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    for code in answer["content"]["application/json"]["examples"]:
                        assert f"`{code}`" in answer["description"]
                        assert examples[code]["value"]["error"]["code"] == code
                        listed[code] += 1
    stated = {kind.code for each in OPERATIONS for kind in each.all_errors}
    assert set(listed) == stated
    known = {each.code for each in vars(errors).values() if isinstance(each, type) and issubclass(each, BowerbirdError)}
    assert set(listed) <= known
    said = text()  # also of files of batches, of jobs, and of where no operation is
    assert {code for code in known if f"`{code}`" not in said} == NOT_ANSWERED


def test_every_operation_has_a_name_of_its_own_and_every_link_leads_to_one() -> None:
    names = Counter(op["operationId"] for methods in document()["paths"].values() for op in methods.values())
    assert not [name for name, count in names.items() if count > 1]
    assert {each for links in LINKS.values() for each in links} | {name for name, _ in LINKS} <= names.keys()


def test_no_word_of_the_glossary_is_said_of_nothing() -> None:
    used = {name for shape, field, _ in fields() for name in (field, f"{shape}.{field}")}
    assert glossary.WORDS.keys() <= used


def test_the_document_that_is_checked_in_is_the_one_that_is_served() -> None:
    command = "PYTHONPATH=services python -m bowerbird.gateway.api.openapi > services/openapi.json"
    assert (DOCUMENTS / "openapi.json").read_text(encoding="utf-8") == text(), f"the API changed: {command}"


@needs_oasdiff
def test_no_client_of_the_last_release_is_broken() -> None:
    assert breaking_changes(DOCUMENTS / "openapi.released.json", DOCUMENTS / "openapi.json") == []


@needs_oasdiff
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"maximum": 10', '"maximum": 4'),
        ('"/v1/models"', '"/v1/modells"'),
        ('"b64_json"', '"b64"'),
        ('"webp"', '"webp2"'),
    ],
)
def test_a_change_that_breaks_clients_is_found(old: str, new: str, tmp_path: Path) -> None:
    said = text()
    assert old in said
    (tmp_path / "old.json").write_text(said, encoding="utf-8")
    (tmp_path / "new.json").write_text(said.replace(old, new), encoding="utf-8")
    assert breaking_changes(tmp_path / "old.json", tmp_path / "new.json")
