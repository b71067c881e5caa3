"""A bundle comes out of a real S3 whole, or not at all, and one sentence says why not."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from obstore.store import S3Store

from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.bundle import MANIFEST, SAMPLERS, WEIGHTS, Bundle
from bowerbird.engine.drawing import Engine
from bowerbird.engine.fetching import PIECE_BYTES, Source, fetch
from bowerbird.errors import BundleInvalid, BundleUnavailable
from bowerbird.settings import PACKAGED_MODELS
from tests.mounted import MountedSecret
from tests.relay import Relay, relay_to
from tests.s3 import RunningS3

SECONDS = 60.0
NOT_IN_GATEWAY = {"numpy", "onnx", "onnxruntime", "bentoml", "safetensors", "tokenizers", "torch"}
"""What the image that this runs in does not have; see `pyproject.toml`."""


@pytest.fixture
def bucket(s3: RunningS3, monkeypatch: pytest.MonkeyPatch) -> RunningS3:
    """A real S3, whose credentials this process has."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return s3


@pytest.fixture
def put(bucket: RunningS3) -> Callable[[Path], str]:
    """Puts the files of a folder below a prefix of their own; gives its URL."""

    def upload(folder: Path) -> str:
        url = f"{bucket.bucket_url}/models/{secrets.token_hex(6)}"
        store = S3Store.from_url(url, client_options={"allow_http": True})
        for each in folder.iterdir():
            store.put(each.name, each.read_bytes())
        return url

    return upload


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where the chart has it: a folder of an empty volume."""
    (tmp_path / "models").mkdir()
    return tmp_path / "models" / "bundle"


def process(url: str, folder: Path, *options: str) -> subprocess.Popen[str]:
    """What the init container runs."""
    return subprocess.Popen(
        [sys.executable, "-m", "bowerbird.engine.fetching", url, str(folder), *options],
        env={**os.environ, "PYTHONPATH": "services"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_what_was_fetched_is_whole_and_draws(put: Callable[[Path], str], target: Path, bundle: Bundle) -> None:
    with process(put(bundle.folder), target) as run:
        said, errors = run.communicate(timeout=SECONDS)
    assert (run.returncode, errors) == (0, "")
    assert bundle.digest in said
    fetched = Bundle.open(target)
    assert fetched.digest == bundle.digest
    Engine(fetched, CpuBackend(threads=1))
    assert [each.name for each in target.parent.iterdir()] == [target.name], "no draft beside it"


def test_it_is_fetched_with_a_key_in_files(
    put: Callable[[Path], str], target: Path, bundle: Bundle, bucket: RunningS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, secret = put(bundle.folder), MountedSecret(target.parent / "secret")
    secret.write(**bucket.environment)
    for name in bucket.environment:
        monkeypatch.delenv(name)
    with process(url, target, "--secrets", str(secret.folder)) as run:
        _, errors = run.communicate(timeout=SECONDS)
    assert (run.returncode, errors) == (0, "")
    assert Bundle.open(target).digest == bundle.digest


def test_a_key_that_is_replaced_between_two_files_does_no_harm(
    put: Callable[[Path], str], tmp_path: Path, bundle: Bundle, bucket: RunningS3
) -> None:
    old, new = bucket.new_key(), bucket.new_key()
    secret = MountedSecret(tmp_path / "secret")
    secret.write(**old)
    source = Source(put(bundle.folder), [secret.folder])
    source.copy(MANIFEST, tmp_path / MANIFEST)
    bucket.take_away(old)
    with pytest.raises(BundleUnavailable, match="with these credentials"):
        source.copy(SAMPLERS, tmp_path / SAMPLERS)
    secret.write(**new)
    source.copy(SAMPLERS, tmp_path / SAMPLERS)
    assert (tmp_path / SAMPLERS).read_bytes() == (bundle.folder / SAMPLERS).read_bytes()


def test_a_large_file_comes_in_pieces(put: Callable[[Path], str], target: Path) -> None:
    fledgling = PACKAGED_MODELS / "fledgling"
    assert (fledgling / WEIGHTS).stat().st_size > 3 * PIECE_BYTES
    fetch(put(fledgling) + "/", target)
    assert Bundle.open(target).digest == Bundle.open(fledgling).digest


def test_a_whole_one_is_kept_without_asking_the_store(put: Callable[[Path], str], target: Path, bundle: Bundle) -> None:
    fetch(put(bundle.folder), target)
    assert fetch("s3://nowhere/else", target).digest == bundle.digest


def test_one_that_was_altered_since_is_fetched_again(put: Callable[[Path], str], target: Path, bundle: Bundle) -> None:
    url = put(bundle.folder)
    fetch(url, target)
    (target / WEIGHTS).write_bytes(b"what a power cut left")
    fetch(url, target)
    assert Bundle.open(target).digest == bundle.digest


def test_a_folder_that_is_no_bundle_is_left_as_it_is(put: Callable[[Path], str], target: Path, bundle: Bundle) -> None:
    target.mkdir()
    (target / "thesis.txt").write_text("of somebody")
    with process(put(bundle.folder), target) as run:
        _, errors = run.communicate(timeout=SECONDS)
    assert (run.returncode, errors.count("\n")) == (1, 1)
    assert f"cannot be kept in {target}: Directory not empty." in errors
    assert [each.name for each in target.iterdir()] == ["thesis.txt"]


def alter(file: Path) -> None:
    altered = bytearray(file.read_bytes())
    altered[len(altered) // 2] ^= 1
    file.write_bytes(altered)


@pytest.mark.parametrize(
    "change",
    [alter, lambda file: file.write_bytes(file.read_bytes() + b" "), lambda file: file.write_bytes(b"")],
    ids=["one bit", "longer", "empty"],
)
def test_an_altered_file_is_refused_by_name_and_nothing_stays(
    put: Callable[[Path], str], target: Path, copied: Path, change: Callable[[Path], object]
) -> None:
    change(copied / SAMPLERS)
    url = put(copied)
    with pytest.raises(BundleInvalid) as refused:
        fetch(url, target)
    assert refused.value.message.startswith(f"{url}/{SAMPLERS} is not the file this bundle was written with")
    assert list(target.parent.iterdir()) == []


def test_only_the_bundle_that_was_asked_for_is_taken(put: Callable[[Path], str], target: Path, bundle: Bundle) -> None:
    url = put(bundle.folder)
    with pytest.raises(BundleInvalid, match=f"{url} is the bundle {bundle.digest}; sha256:0 was asked for"):
        fetch(url, target, "sha256:0")
    assert fetch(url, target, bundle.digest).digest == bundle.digest


def test_a_killed_one_leaves_no_bundle_and_the_next_begins_anew(
    put: Callable[[Path], str], target: Path, bundle: Bundle, bucket: RunningS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = put(bundle.folder)
    with relay_to(bucket.environment["AWS_ENDPOINT_URL"]) as relay:
        relay.break_at(*[(bundle.folder / SAMPLERS).read_bytes()[:16]] * 100)
        monkeypatch.setenv("AWS_ENDPOINT_URL", relay.url)
        with process(url, target) as run:
            until_broken(relay)
            run.kill()
    (draft,) = target.parent.iterdir()
    assert (draft / MANIFEST).exists()
    (draft / "left-behind").touch()

    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.environment["AWS_ENDPOINT_URL"])
    fetch(url, target)
    assert Bundle.open(target).digest == bundle.digest
    assert list(target.parent.iterdir()) == [target]
    assert not (target / "left-behind").exists()


def until_broken(relay: Relay) -> None:
    """Returns when an answer was broken off; the library tries again for seconds."""
    ends_at = time.monotonic() + SECONDS
    while not relay.breaks:
        assert time.monotonic() < ends_at, "nobody asked"
        time.sleep(0.002)


def test_a_line_that_breaks_once_is_mended(
    put: Callable[[Path], str], target: Path, bundle: Bundle, bucket: RunningS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = put(bundle.folder)
    with relay_to(bucket.environment["AWS_ENDPOINT_URL"]) as relay:
        relay.break_at((bundle.folder / SAMPLERS).read_bytes()[:16])
        monkeypatch.setenv("AWS_ENDPOINT_URL", relay.url)
        fetch(url, target)
        assert relay.breaks == 1
    assert Bundle.open(target).digest == bundle.digest


@pytest.mark.parametrize(
    ("url", "different", "sentence"),
    [
        ("s3://pictures/nothing-here", {}, r"bundle\.json is not there \(NoSuchKey: "),
        ("s3://no-such-bucket/x", {}, r"bundle\.json is not there \(NoSuchBucket: "),
        ("s3://pictures/x", {"AWS_SECRET_ACCESS_KEY": "not-the-secret"}, r"with these credentials \(Signature"),
        ("s3://pictures/x", {"AWS_ACCESS_KEY_ID": "nobody"}, r"with these credentials \(InvalidAccessKeyId"),
        ("s3://pictures/x", {"AWS_REGION": "mars-1"}, 'the region "mars-1" is wrong'),
        (
            "s3://pictures/x",
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
            r"nobody answers as S3 does \(.*0\.1:1/",
        ),
        ("s3://pictures/x", {"AWS_ENDPOINT_URL": "store:9000"}, "AWS_ENDPOINT_URL is no URL"),
        ("file:///pictures/x", {}, "is not the URL of a folder in a bucket"),
    ],
)
def test_why_there_is_none_is_one_sentence_without_a_secret(
    bucket: RunningS3, monkeypatch: pytest.MonkeyPatch, url: str, different: dict[str, str], sentence: str
) -> None:
    for name, value in different.items():
        monkeypatch.setenv(name, value)
    with TemporaryDirectory() as folder, process(url, Path(folder) / "bundle") as run:
        _, errors = run.communicate(timeout=SECONDS)
        assert os.listdir(folder) == []
    assert run.returncode == 1
    assert re.search(sentence, errors)
    assert errors.count("\n") == 1
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in errors


def test_a_volume_without_room_is_named(put: Callable[[Path], str], target: Path) -> None:
    url = put(PACKAGED_MODELS / "fledgling")
    program = "import resource, sys; from bowerbird.engine.fetching import main; "
    program += f"resource.setrlimit(resource.RLIMIT_FSIZE, ({PIECE_BYTES}, {PIECE_BYTES})); main(sys.argv[1:])"
    run = subprocess.run(
        [sys.executable, "-c", program, url, str(target)],
        env={**os.environ, "PYTHONPATH": "services"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (1, f"{url} cannot be kept in {target}: File too large.\n")
    assert list(target.parent.iterdir()) == []


def test_it_imports_nothing_that_the_gateways_image_lacks() -> None:
    imported = subprocess.run(
        [sys.executable, "-c", "import sys, bowerbird.engine.fetching; print(*sys.modules)"],
        env={**os.environ, "PYTHONPATH": "services"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not NOT_IN_GATEWAY & set(imported)
