"""A clip's file that is gone: because the clip was deleted meanwhile, or lost."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2

from bowerbird.gateway.records.database import FILE_NAME

from ..conftest import GatewayIn
from ..jobs.submitting import ended

VIDEO = {"prompt": "a small red bird", "seconds": 2, "fps": 8, "seed": 7}


def drawn(gateway: httpx2.Client) -> str:
    """The id of a finished clip."""
    answer = gateway.post("/v1/videos", json=VIDEO)
    assert answer.status_code == 200, answer.text
    video_id = str(answer.json()["id"])
    assert ended(gateway, video_id)["error"] is None
    return video_id


@contextmanager
def rows_of(home: Path) -> Iterator[sqlite3.Connection]:
    """The database, committed at the end."""
    with closing(sqlite3.connect(home / FILE_NAME)) as database, database:
        yield database


def refused(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_clip_that_is_deleted_while_its_file_is_read_is_unknown(gateway_in: GatewayIn, tmp_path: Path) -> None:
    with gateway_in(tmp_path) as gateway, ThreadPoolExecutor(1) as reader:
        video_id = drawn(gateway)
        [file] = (tmp_path / "pictures" / "jobs" / video_id).iterdir()
        file.unlink()
        os.mkfifo(file)
        answer = reader.submit(gateway.get, f"/v1/videos/{video_id}/content")
        with file.open("wb"), rows_of(tmp_path) as rows:  # open() waits for the reader
            rows.execute("DELETE FROM jobs")
        assert refused(answer.result()) == (404, "job_not_found")


def test_a_clip_whose_file_is_named_nowhere_or_gone_is_lost(gateway_in: GatewayIn, tmp_path: Path) -> None:
    with gateway_in(tmp_path) as gateway:
        video_id = drawn(gateway)
        content = f"/v1/videos/{video_id}/content"
        [file] = (tmp_path / "pictures" / "jobs" / video_id).iterdir()
        file.unlink()
        assert refused(gateway.get(content)) == (500, "picture_lost")
        with rows_of(tmp_path) as rows:
            rows.execute("DELETE FROM job_pictures")
        assert refused(gateway.get(content)) == (500, "picture_lost")
