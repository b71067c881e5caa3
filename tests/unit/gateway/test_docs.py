"""The reader's page is whole, leads nowhere else, and runs nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import httpx2
import pytest

from bowerbird.gateway.api.openapi import document


class Page(HTMLParser):
    """What a page names, links to, loads, and leaves open."""

    VOID = frozenset({"meta", "br", "link", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.tags: set[str] = set()
        self._open: list[str] = []
        self.feed(text)
        self.left_open = self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.ids += [said["id"]] if "id" in said else []
        if tag == "a":
            self.links.append(said["href"])
        self.loads += [value for name, value in said.items() if name in ("src", "srcset", "data", "action")]
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


@pytest.fixture
def answer(gateway: httpx2.Client) -> httpx2.Response:
    return gateway.get("/docs")


def test_every_operation_stands_there_once_and_every_link_leads_to_one(answer: httpx2.Response) -> None:
    page = Page(answer.text)
    names = {operation["operationId"] for methods in document()["paths"].values() for operation in methods.values()}
    assert names <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert {each for each in page.links if each != "openapi.json"} <= {f"#{name}" for name in page.ids}
    assert not page.left_open


def test_it_loads_nothing_and_runs_nothing(answer: httpx2.Response) -> None:
    page = Page(answer.text)
    assert not page.loads
    assert not page.tags & {"script", "iframe", "object", "embed", "img", "link"}
    assert not re.search(r"@import|url\(", answer.text)
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_it_says_every_code_and_calls_the_address_that_it_was_read_from(
    gateway: httpx2.Client, answer: httpx2.Response
) -> None:
    for code in document()["components"]["examples"]:
        assert f"<code>{code}</code>" in answer.text
    assert f"curl {str(gateway.base_url).rstrip('/')}/v1/images/generations" in answer.text
    assert "$" not in re.sub(r"<code>.*?</code>|<pre>.*?</pre>|<td>.*?</td>", "", answer.text, flags=re.DOTALL)
