"""Which store a process uses: the one that `BOWERBIRD_PICTURES_URL` names, else a folder in BOWERBIRD_HOME."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from bowerbird.gateway.pictures.folder import FolderPictures
from bowerbird.gateway.pictures.store import PictureStore
from bowerbird.mounted import CredentialsUnusable

FOLDER_NAME = "pictures"


def open_pictures(
    url: str | None, home: Path, own: Mapping[str, str] | None = None, *, secrets: Sequence[Path | None] = ()
) -> PictureStore:
    """The store; raises SystemExit with a sentence for a URL of another kind, an endpoint or a key that is none.

    `secrets` are folders, as far as they are named, whose files are called as AWS's variables are, and go before those
    of the process; `own` are such variables for this store, in small letters (`aws_access_key_id`), before all.
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

    try:
        return S3Pictures(url, [each for each in secrets if each], own)
    except (CredentialsUnusable, ValueError) as error:
        raise SystemExit(str(error)) from error
