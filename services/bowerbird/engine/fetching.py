"""A bundle fetched from an object store: `python -m bowerbird.engine.fetching s3://bucket/path FOLDER [--digest …]`.

The chart's init container `fetch` runs it where `model.url` is set, in the gateway's image, which has the library that
speaks S3: nothing is imported here that the extra `gateway` does not bring. The service itself is given the folder,
read-only, and no credentials (`AWS_*`, as everywhere, or files that are called so, in the folder of `--secrets`).

Files are written into a draft beside FOLDER, checked by the engine's own rule (`Bundle.open`) and renamed: FOLDER is a
whole bundle, or it is not there. What a killed process left is swept away by the next. A whole bundle is kept, and the
store is not asked for it again: a node that was restarted serves without one. What keeps it from being fetched ends the
process with one sentence on stderr, which Kubernetes keeps as the termination message, and the kubelet begins anew.
"""

from __future__ import annotations

import argparse
import html
import re
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import monotonic

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from bowerbird.bucket import Bucket, Patience
from bowerbird.engine.bundle import MANIFEST, Bundle, read_manifest
from bowerbird.errors import BowerbirdError, BundleInvalid, BundleUnavailable
from bowerbird.mounted import CredentialsUnusable

PATIENCE = Patience(request=timedelta(seconds=60), retries=6, retrying=timedelta(seconds=120))
"""A request is for a piece, so that a large file may take as long as it does. After that, the kubelet tries again."""
PIECE_BYTES = 8 * 1024 * 1024
PIECES_AT_ONCE = 4
"""One connection does not fill a wide line; with four, a narrow one of half a megabyte a second is still in time."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Fetches one; raises SystemExit with a sentence where that cannot be."""
    asked, began = _arguments(arguments), monotonic()
    try:
        bundle = fetch(asked.url, asked.folder, asked.digest, asked.secrets)
    except BowerbirdError as error:
        raise SystemExit(error.message) from error
    except OSError as error:
        raise SystemExit(f"{asked.url} cannot be kept in {asked.folder}: {error.strerror or error}.") from error
    print(f"{bundle.manifest.name} {bundle.manifest.version}, {bundle.digest}: {monotonic() - began:.1f} s")


def fetch(url: str, folder: Path, digest: str = "", secrets: Sequence[Path] = ()) -> Bundle:
    """The bundle at `url`, in `folder`, which may be there already; with a `digest` no other one.

    `secrets` are folders of credentials (`bucket`). Raises BundleUnavailable where the store does not give it,
    BundleInvalid where it is not what it says, and OSError where it cannot be written, or the folder holds something
    that is no bundle.
    """
    with suppress(BundleInvalid):
        whole = Bundle.open(folder)
        if digest in ("", whole.digest):
            return whole
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        _fill(draft, Source(url, secrets), digest)
        checked = Bundle.open(draft)
        if (folder / MANIFEST).exists():
            shutil.rmtree(folder)
        draft.rename(folder)
    except BundleInvalid as error:
        raise BundleInvalid(error.message.replace(str(draft), url.rstrip("/"))) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Bundle(folder, checked.manifest, checked.digest)


class Source:
    """The folder of a bucket that a bundle's files lie in; every question to it raises BundleUnavailable."""

    def __init__(self, url: str, secrets: Sequence[Path] = ()) -> None:
        self._url = url.rstrip("/")
        try:
            self._bucket = Bucket(url, PATIENCE, secrets)
        except (CredentialsUnusable, ValueError) as error:
            raise BundleUnavailable(str(error)) from error

    def copy(self, name: str, target: Path) -> None:
        """One object into a new file: a small one by one request, a large one by pieces, several at a time."""
        with self._asking(name):
            found = self._bucket.store.get(name)
            size = found.meta["size"]
            body = found.bytes() if size <= PIECE_BYTES else b""
        target.write_bytes(body)
        if size > PIECE_BYTES:
            with ThreadPoolExecutor(PIECES_AT_ONCE) as pool:
                list(pool.map(partial(self._copy_piece, name, target), range(0, size, PIECE_BYTES)))

    def _copy_piece(self, name: str, target: Path, start: int) -> None:
        with self._asking(name):
            piece = self._bucket.store.get_range(name, start=start, length=PIECE_BYTES)
        with target.open("r+b") as file:
            file.seek(start)
            file.write(piece)

    @contextmanager
    def _asking(self, name: str) -> Iterator[None]:
        """Around a question about an object: what the library raises becomes a sentence that names it."""
        where = f"{self._url}/{name}"
        try:
            yield
        except FileNotFoundError as error:
            raise BundleUnavailable(f"{where} is not there ({_said(error)}).") from error
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise BundleUnavailable(f"{where} may not be read with these credentials ({_said(error)}).") from error
        except BaseError as error:
            without = "" if self._bucket.has_key else " without AWS_ACCESS_KEY_ID"
            raise BundleUnavailable(f"{where} cannot be read{without}: {_said(error)}.") from error


def _fill(draft: Path, source: Source, digest: str) -> None:
    """Writes every file of the bundle, its manifest first: one that is not the right one costs no more than that."""
    source.copy(MANIFEST, draft / MANIFEST)
    manifest, found = read_manifest(draft)
    if digest not in ("", found):
        raise BundleInvalid(f"{draft} is the bundle {found}; {digest} was asked for.")
    for name in manifest.files:
        source.copy(name, draft / name)


def _said(error: Exception) -> str:
    """The store's own code and message; where S3 did not answer, the library's first line, which names the address.

    There is no secret in these; the rest of what S3 answers tells what was signed, and is left out.
    """
    told = str(error)
    words = [found[1] for tag in ("Code", "Message") if (found := re.search(f"<{tag}>([^<]+)</{tag}>", told))]
    said = html.unescape(": ".join(words)) or f"nobody answers as S3 does ({told.splitlines()[0]})"
    return " ".join(said.split()).rstrip(".")


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bowerbird.engine.fetching")
    parser.add_argument("url", help="s3://bucket/path, where bundle.json lies")
    parser.add_argument("folder", type=Path, help="the bundle's folder, which is made")
    parser.add_argument("--digest", default="", help="sha256:… of its bundle.json, without which none is taken")
    parser.add_argument(
        "--secrets", type=Path, action="append", default=[], help="a folder whose files are called as AWS's variables"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
