"""A picture store keeps what it was given, whole, in a folder and in a real S3."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from secrets import token_hex

import pytest

from bowerbird.errors import PictureLost, RecordsUnavailable
from bowerbird.gateway.pictures import PictureStore, open_pictures
from bowerbird.gateway.pictures.folder import INCOMING, UNFINISHED_SECONDS, FolderPictures
from tests.mounted import MountedSecret
from tests.s3 import RunningS3

PICTURE = bytes(range(256)) * 1024


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PictureStore:
    """An empty store of each kind."""
    url = None
    if request.param == "s3":
        server: RunningS3 = request.getfixturevalue("s3")
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        url = f"{server.bucket_url}/{token_hex(6)}"
    return open_pictures(url, tmp_path)


async def keys(store: PictureStore, prefix: str) -> list[str]:
    return sorted([key async for key in store.keys(prefix)])


async def test_what_was_put_is_got_back_byte_for_byte(store: PictureStore) -> None:
    await store.put("jobs/job_1/1-0", PICTURE)
    await store.put("jobs/job_1/1-1", b"")
    assert await store.get("jobs/job_1/1-0") == PICTURE
    assert await store.get("jobs/job_1/1-1") == b""


async def test_what_need_not_last_is_kept_without_waiting_for_the_disk(
    store: PictureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    await store.put("results/abc-0", PICTURE, lasting=False)
    assert (await store.get("results/abc-0"), synced) == (PICTURE, [])
    await store.put("jobs/job_1/1-0", PICTURE)
    assert bool(synced) == isinstance(store, FolderPictures)


async def test_a_picture_that_is_not_there_is_a_fact(store: PictureStore) -> None:
    with pytest.raises(PictureLost):
        await store.get("jobs/job_1/1-0")


async def test_keys_are_listed_by_prefix_and_only_whole_names(store: PictureStore) -> None:
    names = ["jobs/job_1/1-0", "jobs/job_1/2-0", "jobs/job_11/1-0", "results/abc"]
    await asyncio.gather(*(store.put(name, b"x") for name in names))
    assert await keys(store, "jobs/") == names[:3]
    assert await keys(store, "jobs/job_1/") == names[:2]
    assert await keys(store, "nothing/") == []


async def test_deleting_forgets_and_may_be_repeated(store: PictureStore) -> None:
    await asyncio.gather(*(store.put(f"jobs/job_1/1-{n}", b"x") for n in range(5)))
    await store.delete([f"jobs/job_1/1-{n}" for n in range(1, 9)])
    await store.delete(["jobs/job_1/1-1", "jobs/never/1-0"])
    await store.delete([])
    assert await keys(store, "jobs/") == ["jobs/job_1/1-0"]


async def come_and_go(store: PictureStore, folders: int) -> None:
    """Twelve writers, each putting, getting and deleting pictures in one of so many folders."""

    async def live(number: int) -> None:
        for turn in range(5):
            key = f"jobs/job_{number % folders}/{turn}-{number}"
            await store.put(key, key.encode())
            assert await store.get(key) == key.encode()
            await store.delete([key])

    await asyncio.gather(*(live(number) for number in range(12)))
    assert await keys(store, "jobs/") == []


async def test_many_at_once_do_not_disturb_each_other(store: PictureStore) -> None:
    await come_and_go(store, folders=12)


async def test_a_folder_may_be_removed_by_one_while_another_writes_to_it(tmp_path: Path) -> None:
    await come_and_go(FolderPictures(tmp_path), folders=2)


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../up", "jobs/../../up", "jobs//1", "jobs/.hidden", "jobs/a b", "jobs/", ".incoming/x"]
)
async def test_a_key_cannot_leave_the_store(store: PictureStore, key: str) -> None:
    with pytest.raises(ValueError, match="is not the key of a picture"):
        await store.put(key, b"x")
    with pytest.raises(ValueError, match="is not the key of a picture"):
        await store.get(key)
    with pytest.raises(ValueError, match="is not the key of a picture"):
        await store.delete([key])


async def test_a_folder_leaves_no_empty_folders_and_no_drafts(tmp_path: Path) -> None:
    store = FolderPictures(tmp_path / "pictures")
    await store.put("jobs/job_1/1-0", b"x")
    await store.delete(["jobs/job_1/1-0"])
    assert [each.name for each in (tmp_path / "pictures").rglob("*")] == [INCOMING]


async def test_what_an_interrupted_put_left_is_not_listed_and_removed_when_it_is_old(tmp_path: Path) -> None:
    store = FolderPictures(tmp_path)
    for name in ("old", "young"):
        (tmp_path / INCOMING / name).write_bytes(b"half")
    an_age_ago = time.time() - UNFINISHED_SECONDS - 1
    os.utime(tmp_path / INCOMING / "old", (an_age_ago, an_age_ago))
    assert await keys(store, "jobs/") == []
    assert await store.remove_unfinished() == 1
    assert [each.name for each in (tmp_path / INCOMING).iterdir()] == ["young"]


async def test_a_folder_that_cannot_be_written_is_a_fact_and_keeps_nothing_half(tmp_path: Path) -> None:
    store = FolderPictures(tmp_path)
    (tmp_path / "jobs").write_bytes(b"a file where a folder should be")
    with pytest.raises(RecordsUnavailable) as raised:
        await store.put("jobs/job_1/1-0", b"x")
    assert str(tmp_path) not in raised.value.message
    assert list((tmp_path / INCOMING).iterdir()) == []


async def test_an_s3_that_is_not_there_is_a_fact(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"ENDPOINT_URL": "http://127.0.0.1:9", "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "s"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    store = open_pictures("s3://pictures", tmp_path)
    with pytest.raises(RecordsUnavailable):
        await store.get("jobs/job_1/1-0")


def test_a_store_of_another_kind_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="Accepted: s3://bucket/path"):
        open_pictures("ftp://host/path", tmp_path)
    assert isinstance(open_pictures(f"file://{tmp_path}/here", tmp_path), FolderPictures)


@pytest.mark.parametrize("endpoint", ["store:9000", "http//store", "http://", "ftp://store"])
def test_an_endpoint_that_is_no_url_ends_the_start_with_a_sentence(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(SystemExit, match="AWS_ENDPOINT_URL is no URL"):
        open_pictures("s3://pictures", tmp_path)
    with pytest.raises(SystemExit, match="AWS_ENDPOINT_URL is no URL"):
        open_pictures("s3://pictures", tmp_path, {"aws_endpoint_url": endpoint})
    assert open_pictures("s3://pictures", tmp_path, {"aws_endpoint_url": "http://store:9000"})


KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_REGION")


@pytest.fixture
def secret(tmp_path: Path) -> MountedSecret:
    return MountedSecret(tmp_path / "secret")


def mounted_store(s3: RunningS3, secret: MountedSecret) -> PictureStore:
    """A store whose process has no variable of AWS's."""
    return open_pictures(f"{s3.bucket_url}/{token_hex(6)}", secret.folder, secrets=[None, secret.folder])


async def test_a_key_that_is_replaced_is_the_next_requests(s3: RunningS3, secret: MountedSecret) -> None:
    old, new = s3.new_key(), s3.new_key()
    secret.write(**old)
    store = mounted_store(s3, secret)
    await store.put("jobs/job_1/1-0", PICTURE)
    s3.take_away(old)
    with pytest.raises(RecordsUnavailable):
        await store.get("jobs/job_1/1-0")
    secret.write(**new)
    assert await store.get("jobs/job_1/1-0") == PICTURE
    await store.put("jobs/job_1/1-1", b"x")
    assert await keys(store, "jobs/") == ["jobs/job_1/1-0", "jobs/job_1/1-1"]
    await store.delete(["jobs/job_1/1-1"])


@pytest.mark.parametrize(
    ("different", "sentence"),
    [
        ({"AWS_SECRET_ACCESS_KEY": ""}, "belong together"),
        ({"AWS_ACCESS_KEY_ID": " \n"}, "belong together"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "AWS_ACCESS_KEY_ID is gone"),
        ({"AWS_ENDPOINT_URL": "store:9000"}, "AWS_ENDPOINT_URL is no URL"),
        ({"AWS_ENDPOINT_URL": "http://[store"}, "AWS_ENDPOINT_URL is no URL"),
        ({"AWS_ENDPOINT_URL": "http://store:port"}, "AWS_ENDPOINT_URL is no URL"),
        ({"AWS_ACCESS_KEY_ID": "sometimes\ntwo lines"}, "AWS_ACCESS_KEY_ID is not one line of ASCII"),
        ({"AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "sometimes"}, "look at it, and at AWS_ACCESS_KEY_ID"),
    ],
)
async def test_what_is_no_key_leaves_the_one_before_and_is_said_once(
    s3: RunningS3, secret: MountedSecret, different: dict[str, str], sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "bowerbird.mounted")
    secret.write(**s3.environment)
    store = mounted_store(s3, secret)
    secret.write(**{**s3.environment, **different})
    for number in range(2):
        await store.put(f"jobs/job_1/1-{number}", PICTURE)
    (said,) = [each.__dict__["reason"] for each in caplog.records if "cannot be used" in each.message]
    assert sentence in said
    assert not any(value and value in said for value in (s3.environment["AWS_SECRET_ACCESS_KEY"], "sometimes"))
    secret.write(**s3.environment, AWS_PROFILE="of others")
    assert await store.get("jobs/job_1/1-0") == PICTURE
    assert "credentials were read again" in caplog.text


async def test_files_go_before_variables_and_a_key_comes_whole_from_one_place(
    s3: RunningS3, secret: MountedSecret, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in KEYS:
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    above = MountedSecret(tmp_path / "above")
    secret.write(**{**s3.environment, "AWS_ACCESS_KEY_ID": "nobody", "AWS_SESSION_TOKEN": "nobodys"})
    above.write(**{name: s3.environment[name] for name in KEYS[:2]})
    store = open_pictures(s3.bucket_url, tmp_path, secrets=[secret.folder, above.folder])
    assert await keys(store, f"{token_hex(6)}/") == []
    above.write(AWS_ACCESS_KEY_ID=s3.environment["AWS_ACCESS_KEY_ID"])
    with pytest.raises(SystemExit, match="belong together"):
        open_pictures(s3.bucket_url, tmp_path, secrets=[secret.folder, above.folder])


def test_a_secret_that_was_not_mounted_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="nowhere is no folder: mount the Secret"):
        open_pictures("s3://pictures", tmp_path, secrets=[tmp_path / "nowhere"])
