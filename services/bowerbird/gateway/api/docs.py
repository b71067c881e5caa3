"""`GET /docs`: the OpenAPI document as a page a person reads, without a script and without anything from elsewhere.

The page is made on the server from `openapi.document()`: routes with an example to copy, their fields with limits and
defaults, their errors. It is one HTML file, so that it also reads well in a cluster that reaches no CDN.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from bowerbird.gateway.api.openapi import document
from bowerbird.gateway.api.openapi_parameters import IN_PATHS

# Nothing is loaded from anywhere; the style is in the page.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_LIMITS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "matches {}",
}


async def docs(request: Request) -> Response:
    """The page, with examples that call the address it was read from."""
    page = _page().replace("$address", escape(str(request.base_url).rstrip("/")))
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})


@cache
def _page() -> str:
    template = (files(__package__) / "docs.html").read_text(encoding="utf-8")
    described = document()
    subjects = {
        tag["name"]: (tag["description"], list(_operations(described, tag["name"]))) for tag in described["tags"]
    }
    return Template(template).safe_substitute(
        version=escape(described["info"]["version"]),
        description=escape(described["info"]["description"]),
        contents="".join(_contents(subject, operations) for subject, (_, operations) in subjects.items()),
        operations="".join(
            f'<h2 class="subject" id="{_anchor(subject)}">{escape(subject)}</h2><p>{escape(about)}</p>'
            + "".join(each.section for each in operations)
            for subject, (about, operations) in subjects.items()
        ),
        codes=_codes(described),
    )


@dataclass(frozen=True, slots=True)
class _Operation:
    """One of them, on the page."""

    name: str
    label: str
    section: str


def _operations(described: dict[str, Any], subject: str) -> Iterator[_Operation]:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            if subject in operation["tags"]:
                section = _section(method, path, operation, described["components"])
                yield _Operation(operation["operationId"], _label(method, path), section)


def _contents(subject: str, operations: Sequence[_Operation]) -> str:
    listed = "".join(f'<li><a href="#{each.name}">{each.label}</a></li>' for each in operations)
    return f'<section><h3><a href="#{_anchor(subject)}">{escape(subject)}</a></h3><ul>{listed}</ul></section>'


def _anchor(subject: str) -> str:
    return subject.lower().replace(" ", "-")


def _section(method: str, path: str, operation: dict[str, Any], components: dict[str, Any]) -> str:
    schemas = components["schemas"]
    name = operation["operationId"]
    body = operation.get("requestBody", {}).get("content", {})
    media_type, media = next(iter(body.items())) if body else ("", {})
    answer = next(iter(operation["responses"]["200"]["content"].values()))["schema"]
    parts = [
        f'<section id="{name}"><h3 class="operation"><a href="#{name}">{_label(method, path)}</a></h3>',
        f"<p>{escape(operation['summary'])}. {_prose(operation['description'])}</p>",
        _example(method, path, media_type, media),
        _parameters(operation.get("parameters", [])),
        _fields("Request", media.get("schema"), schemas),
        _fields("Answer", answer, schemas),
        _headers(operation["responses"]["200"]["headers"], components["headers"]),
        _errors(operation["responses"]),
        "</section>",
    ]
    return "".join(parts)


def _label(method: str, path: str) -> str:
    return f'<span class="method">{method.upper()}</span> <code>{escape(path)}</code>'


def _example(method: str, path: str, media_type: str, media: dict[str, Any]) -> str:
    for name, (_, example) in IN_PATHS.items():
        path = path.replace(f"{{{name}}}", example)
    method_option = f"-X {method.upper()} " if method in ("delete", "patch") else ""
    lines = [f"curl {method_option}$address{path}"]
    if "example" in media and media_type == "multipart/form-data":
        lines += [f"  -F '{name}={value}'" for name, value in media["example"].items()]
    elif "example" in media:
        lines += ["  -H 'Content-Type: application/json'", f"  -d '{json.dumps(media['example'])}'"]
    elif media_type == "multipart/form-data":
        lines.append("  -F file=@out/first.png")
    return "<pre>" + escape(" \\\n".join(lines), quote=False) + "</pre>"


def _parameters(parameters: Sequence[dict[str, Any]]) -> str:
    rows = [
        f"<tr><td><code>{escape(each['name'])}</code> <small>{each['in']}</small></td>"
        f"<td>{_type(each['schema'], {})}</td><td>{_prose(each['description'])}{_default(each['schema'])}</td></tr>"
        for each in parameters
    ]
    return f"<h4>Path, query and headers</h4><table><tbody>{''.join(rows)}</tbody></table>" if rows else ""


def _fields(title: str, schema: dict[str, Any] | None, schemas: dict[str, Any]) -> str:
    if schema is None or "$ref" not in schema:
        return ""
    required = schemas[_referenced(schema)].get("required", []) if title == "Request" else []
    rows = [
        f"<tr><td><code>{escape(name)}</code>{' <b>required</b>' if name in required else ''}</td>"
        f"<td>{_kind(shape, schemas)}</td><td>{_prose(shape.get('description', ''))}"
        f"{_default(shape)}</td></tr>"
        for name, shape in _flattened("", schema, schemas)
    ]
    return f"<h4>{title}</h4><table><tbody>{''.join(rows)}</tbody></table>"


def _flattened(prefix: str, schema: dict[str, Any], schemas: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field with its shape; those of an object inside follow as `outer.inner`, of a list as `outer[].inner`."""
    for name, shape in schemas[_referenced(schema)].get("properties", {}).items():
        yield prefix + name, shape
        inner = shape.get("items", shape)
        if "$ref" in inner and "properties" in schemas[_referenced(inner)]:
            yield from _flattened(f"{prefix}{name}{'[]' if 'items' in shape else ''}.", inner, schemas)


def _kind(shape: dict[str, Any], schemas: dict[str, Any]) -> str:
    """What may stand there, and in which unit."""
    unit = shape.get("x-unit", "")
    return _type(shape, schemas) + (f" <small>{escape(unit)}</small>" if unit and not unit.startswith("none") else "")


def _type(shape: dict[str, Any], schemas: dict[str, Any]) -> str:
    if "anyOf" in shape:
        return " or ".join(_type(each, schemas) for each in shape["anyOf"] if each != {"type": "null"})
    if "$ref" in shape:
        target = schemas[_referenced(shape)]
        return "object" if "properties" in target else _type(target, schemas)
    if "enum" in shape:
        return " ".join(f"<code>{escape(str(value))}</code>" for value in shape["enum"])
    if "const" in shape:
        return f"<code>{escape(json.dumps(shape['const']))}</code>"
    if shape.get("type") == "array":
        return f"list of {_type(shape.get('items', {}), schemas)}"
    limits = [escape(text.format(shape[key])) for key, text in _LIMITS.items() if key in shape]
    return ", ".join([escape(str(shape.get("type", "any"))), *limits])


def _default(shape: dict[str, Any]) -> str:
    default, examples = shape.get("default"), shape.get("examples")
    if default is not None:
        return f" Default <code>{escape(json.dumps(default))}</code>."
    return f" Such as <code>{escape(json.dumps(examples[0]))}</code>." if examples else ""


def _headers(headers: dict[str, Any], shared: dict[str, Any]) -> str:
    described = {name: (shared[name] if "$ref" in each else each)["description"] for name, each in headers.items()}
    rows = [f"<tr><td><code>{escape(name)}</code></td><td>{escape(said)}</td></tr>" for name, said in described.items()]
    return f"<h4>Answer headers</h4><table><tbody>{''.join(rows)}</tbody></table>"


def _errors(responses: dict[str, Any]) -> str:
    rows = [
        f"<tr><td><code>{status}</code></td><td>{_prose(each['description'])}</td></tr>"
        for status, each in responses.items()
        if status != "200"
    ]
    return f"<h4>Other answers</h4><table><tbody>{''.join(rows)}</tbody></table>"


def _codes(described: dict[str, Any]) -> str:
    """Every error of the API, once, by status and code."""
    said = {
        (status, code): described["components"]["examples"][code]["summary"]
        for methods in described["paths"].values()
        for operation in methods.values()
        for status, answer in operation["responses"].items()
        for code in answer.get("content", {}).get("application/json", {}).get("examples", {})
    }
    rows = [
        f"<tr><td><code>{escape(code)}</code></td><td>{status}</td><td>{_prose(fact)}</td></tr>"
        for (status, code), fact in sorted(said.items())
    ]
    return f"<table><tbody>{''.join(rows)}</tbody></table>"


def _prose(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text)).replace("\n\n", "<br>")


def _referenced(schema: dict[str, Any]) -> str:
    return str(schema["$ref"].rpartition("/")[2])
