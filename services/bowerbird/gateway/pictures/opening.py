"""Which store a process uses: the one that `BOWERBIRD_PICTURES_URL` names, else a folder in BOWERBIRD_HOME."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from bowerbird.gateway.pictures.folder import FolderPictures
from bowerbird.gateway.pictures.store import PictureStore

FOLDER_NAME = "pictures"


def open_pictures(url: str | None, home: Path, credentials: Mapping[str, str] | None = None) -> PictureStore:
    """The store; raises SystemExit with a sentence for a URL of another kind.

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
    from bowerbird.gateway.pictures.s3 import S3Pictures

    return S3Pictures(url, credentials)
