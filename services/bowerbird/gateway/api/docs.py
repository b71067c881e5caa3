"""`GET /docs`: the OpenAPI document as a page a person reads, without a script and without anything from elsewhere.

The page is made on the server from `openapi.document()`: routes with an example to copy, their fields with limits and
defaults, their errors. It is one HTML file, so that it also reads well in a cluster that reaches no CDN.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from bowerbird.gateway.api.openapi import document

# Nothing is loaded from anywhere; the style is in the page.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_LIMITS = {
    "minimum": "≥ {}",
    "maximum": "≤ {}",
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
    operations = list(_operations(described))
    return Template(template).safe_substitute(
        version=escape(described["info"]["version"]),
        description=escape(described["info"]["description"]),
        contents="".join(
            f'<li><a href="#{name}">{_label(method, path)}</a></li>' for name, method, path, _ in operations
        ),
        operations="".join(section for *_, section in operations),
    )


def _operations(described: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            name = operation["operationId"]
            yield name, method, path, _section(name, method, path, operation, described["components"]["schemas"])


def _section(name: str, method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    body = operation.get("requestBody", {}).get("content", {})
    media_type, media = next(iter(body.items())) if body else ("", {})
    answer = next(iter(operation["responses"]["200"]["content"].values()))["schema"]
    parts = [
        f'<section id="{name}"><h2>{_label(method, path)}</h2><p>{escape(operation["summary"])}.'
        f" {_prose(operation['description'])}</p>",
        _example(method, path, media_type, media),
        _fields("Request", media.get("schema"), schemas),
        _fields("Answer", answer, schemas),
        _headers(operation["responses"]["200"]["headers"]),
        _errors(operation["responses"]),
        "</section>",
    ]
    return "".join(parts)


def _label(method: str, path: str) -> str:
    return f'<span class="method">{method.upper()}</span> <code>{escape(path)}</code>'


def _example(method: str, path: str, media_type: str, media: dict[str, Any]) -> str:
    path = path.replace("{model}", "fledgling")
    method_option = f"-X {method.upper()} " if method in ("delete", "patch") else ""
    lines = [f"curl {method_option}$address{path}"]
    if "example" in media and media_type == "multipart/form-data":
        lines += [f"  -F '{name}={value}'" for name, value in media["example"].items()]
    elif "example" in media:
        lines += ["  -H 'Content-Type: application/json'", f"  -d '{json.dumps(media['example'])}'"]
    elif media_type == "multipart/form-data":
        lines.append("  -F file=@out/first.png")
    return "<pre>" + escape(" \\\n".join(lines), quote=False) + "</pre>"


def _fields(title: str, schema: dict[str, Any] | None, schemas: dict[str, Any]) -> str:
    if schema is None or "$ref" not in schema:
        return ""
    required = schemas[_referenced(schema)].get("required", []) if title == "Request" else []
    rows = [
        f"<tr><td><code>{escape(name)}</code>{' <b>required</b>' if name in required else ''}</td>"
        f"<td>{_type(shape, schemas)}</td><td>{_prose(shape.get('description', ''))}"
        f"{_default(shape) if title == 'Request' else ''}</td></tr>"
        for name, shape in _flattened("", schema, schemas)
    ]
    return f"<h3>{title}</h3><table><tbody>{''.join(rows)}</tbody></table>"


def _flattened(prefix: str, schema: dict[str, Any], schemas: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field with its shape; those of an object inside follow as `outer.inner`, of a list as `outer[].inner`."""
    for name, shape in schemas[_referenced(schema)].get("properties", {}).items():
        yield prefix + name, shape
        inner = shape.get("items", shape)
        if "$ref" in inner and "properties" in schemas[_referenced(inner)]:
            yield from _flattened(f"{prefix}{name}{'[]' if 'items' in shape else ''}.", inner, schemas)


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
    default = shape.get("default")
    return "" if default is None else f" Default <code>{escape(json.dumps(default))}</code>."


def _headers(headers: dict[str, Any]) -> str:
    rows = [
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(each['description'])}</td></tr>"
        for name, each in headers.items()
    ]
    return f"<h3>Answer headers</h3><table><tbody>{''.join(rows)}</tbody></table>"


def _errors(responses: dict[str, Any]) -> str:
    rows = [
        f"<tr><td><code>{status}</code></td><td>{_prose(each['description'])}</td></tr>"
        for status, each in responses.items()
        if status != "200"
    ]
    return f"<h3>Errors</h3><table><tbody>{''.join(rows)}</tbody></table>"


def _prose(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text)).replace("\n\n", "<br>")


def _referenced(schema: dict[str, Any]) -> str:
    return str(schema["$ref"].rpartition("/")[2])
