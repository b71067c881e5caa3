"""What a file may be called: a name that is shown, and nothing that a path, a header or a terminal obeys."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.gateway.files.file import MAX_NAME_CHARACTERS, NAMELESS, content_disposition, safe_name


@pytest.mark.parametrize(
    ("stated", "shown"),
    [
        ("robins.jsonl", "robins.jsonl"),
        ("../../etc/passwd", "passwd"),
        ("C:\\batches\\robins.jsonl", "robins.jsonl"),
        ("/absolute/robins.jsonl", "robins.jsonl"),
        ("..", NAMELESS),
        (". .", NAMELESS),
        ("", NAMELESS),
        ("folder/", NAMELESS),
        ('a"; filename="b.exe', 'a"; filename="b.exe'),
        ("a\r\nSet-Cookie: b=c", "aSet-Cookie: b=c"),
        ("robins\x00.jsonl", "robins.jsonl"),
        ("robins\u202elnosj.exe", "robinslnosj.exe"),
        ("Blaumei\u0073\u0065 – März.jsonl", "Blaumeise – März.jsonl"),
    ],
)
def test_a_name_is_its_last_step_without_what_somebody_might_obey(stated: str, shown: str) -> None:
    assert safe_name(stated) == shown


@given(st.text(max_size=400))
def test_a_name_is_short_printable_and_no_path_whatever_was_stated(stated: str) -> None:
    shown = safe_name(stated)
    assert 0 < len(shown) <= MAX_NAME_CHARACTERS
    assert not re.search(r"[/\\]", shown)
    assert shown.strip(". ")
    assert not any(unicodedata.category(each).startswith("C") for each in shown)


@given(st.text(max_size=100))
def test_a_download_says_the_name_in_a_header_that_holds_nothing_else(stated: str) -> None:
    shown = safe_name(stated)
    header = content_disposition(shown)
    assert header.isascii()
    assert header.isprintable()
    parts = re.fullmatch(r"attachment; filename=\"([A-Za-z0-9._ -]*)\"; filename\*=UTF-8''([^;\s\"]*)", header)
    assert parts
    assert unquote(parts[2]) == shown
