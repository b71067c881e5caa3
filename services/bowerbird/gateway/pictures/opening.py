"""Which store a process uses: the one that `BOWERBIRD_PICTURES_URL` names, else a folder in BOWERBIRD_HOME."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from bowerbird.gateway.pictures.folder import FolderPictures
from bowerbird.gateway.pictures.store import PictureStore

FOLDER_NAME = "pictures"


def open_pictures(url: str | None, home: Path, credentials: Mapping[str, str] | None = None) -> PictureStore:
    """The store; raises SystemExit with a sentence for a URL of another kind, and for an endpoint that is none.

    `credentials` are AWS's variables for this one, in small letters (`aws_access_key_id`), before those of the process.
    """
    if url is None:
        return FolderPictures(home / FOLDER_NAME)
    parts = urlsplit(url)
    if parts.scheme == "file":
        return FolderPictures(Path(parts.path))
    if parts.scheme != "s3":
        raise SystemExit(
            f"BOWERBIRD_PICTURES_URL begins with {parts.scheme!r}. Accepted: s3://bucket/path, file:///path."
        )
    endpoint = (credentials or {}).get("aws_endpoint_url") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint and not _is_endpoint(endpoint):
        raise SystemExit("AWS_ENDPOINT_URL is no URL: https://store.example.com, say.")
    from bowerbird.gateway.pictures.s3 import S3Pictures

    return S3Pictures(url, credentials)


def _is_endpoint(text: str) -> bool:
    """Of any other the library makes a store that panics when it is first used."""
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and bool(parts.netloc)
