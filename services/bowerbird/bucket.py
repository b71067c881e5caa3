"""A bucket (S3, or anything that speaks it): its endpoint and its credentials, which may change while it is used.

They are AWS's variables (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, …): of the process, or files that are called so, in
folders that Kubernetes mounts Secrets at, which go before. A key that is replaced there is the next request's. Files
that S3 has no use for are left alone: a Secret may be others' as well.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cache, reduce
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast
from urllib.parse import urlsplit

from obstore.exceptions import BaseError, UnknownConfigurationKeyError
from obstore.store import S3Store

from bowerbird.mounted import CredentialsUnusable, Followed

if TYPE_CHECKING:
    from obstore.store import S3Config

CONNECT_TIMEOUT = timedelta(seconds=5)
KEY_ID, KEY, TOKEN = "aws_access_key_id", "aws_secret_access_key", "aws_session_token"
ENDPOINT = "aws_endpoint_url"


class Patience(NamedTuple):
    """How long the library waits for one request, how often it tries again on its own, and for how long in all."""

    request: timedelta
    retries: int
    retrying: timedelta


class Bucket:
    """What lies below a URL; `store` is to be asked for each time that it is used."""

    def __init__(
        self, url: str, patience: Patience, secrets: Sequence[Path] = (), own: Mapping[str, str] | None = None
    ) -> None:
        """The last of the folders goes before the others, and `own`, variables in small letters, before all.

        Raises CredentialsUnusable where the endpoint or the key is none, or a folder is not there, and ValueError, with
        a sentence, for a URL that names no bucket.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("s3", "s3a", "http", "https") or not parts.netloc:
            raise ValueError(f"{url} is not the URL of a folder in a bucket: s3://bucket/path.")
        self._url = url
        self._patience = patience
        self._secrets = secrets
        self._own = dict(own or {})
        self._had_key = False
        self._followed = Followed(self._open, *secrets)

    @property
    def store(self) -> S3Store:
        """The library's store, with the credentials of now."""
        return self._followed.now()

    @property
    def has_key(self) -> bool:
        """Whether it was given a key; without one, the library looks for one in the machine's own service."""
        return self._had_key or KEY_ID.upper() in os.environ

    def _open(self) -> S3Store:
        said = reduce(_over, (*map(_read, self._secrets), self._own), dict[str, str]())
        config = {name: value for name, value in said.items() if _is_known(name)}
        endpoint = config.get(ENDPOINT) or os.environ.get(ENDPOINT.upper())
        if endpoint and not _is_endpoint(endpoint):
            raise CredentialsUnusable(f"{ENDPOINT.upper()} is no URL: https://store.example.com, say.")
        has_key = KEY_ID in config
        if has_key != (KEY in config):
            raise CredentialsUnusable(f"{KEY_ID.upper()} and {KEY.upper()} belong together; one is missing or empty.")
        if self._had_key and not has_key:
            raise CredentialsUnusable(f"{KEY_ID.upper()} is gone.")
        store = self._store_of(config)
        self._had_key = has_key
        return store

    def _store_of(self, config: Mapping[str, str]) -> S3Store:
        request, retries, retrying = self._patience
        try:
            return S3Store.from_url(
                self._url,
                config=cast("S3Config", config),
                client_options={"connect_timeout": CONNECT_TIMEOUT, "timeout": request, "allow_http": True},
                retry_config={"max_retries": retries, "retry_timeout": retrying},
            )
        except BaseError as error:  # not quoted: it may name a value
            names = ", ".join(sorted(each.upper() for each in config)) or "AWS's variables"
            raise CredentialsUnusable(f"{self._url} cannot be opened: look at it, and at {names}.") from error


def _read(folder: Path) -> dict[str, str]:
    """The variables that are files, in small letters, without those that are empty; raises CredentialsUnusable."""
    if not folder.is_dir():
        raise CredentialsUnusable(f"{folder} is no folder: mount the Secret of the bucket there.")
    found = dict[str, str]()
    for file in folder.iterdir():
        if file.name.upper().startswith("AWS_"):
            text = file.read_text(encoding="utf-8", errors="replace").strip()
            if not (text.isascii() and text.isprintable()):  # the library would panic when it signs with it
                raise CredentialsUnusable(f"{file} is not one line of ASCII.")
            found[file.name.lower()] = text
    return {name: value for name, value in found.items() if value}


def _over(below: Mapping[str, str], above: Mapping[str, str]) -> dict[str, str]:
    """The second before the first; a key comes whole from one of them, never its parts from both."""
    own_key = {KEY_ID, KEY, TOKEN} if above.keys() & {KEY_ID, KEY, TOKEN} else set()
    return {name: value for name, value in below.items() if name not in own_key} | dict(above)


@cache
def _is_known(variable: str) -> bool:
    """Whether the library knows it; it opens nothing where it is given another."""
    try:
        S3Store("bucket", config=cast("S3Config", {variable: ""}))
    except UnknownConfigurationKeyError:
        return False
    except BaseError:  # the name is known, and an empty value is none
        return True
    return True


def _is_endpoint(text: str) -> bool:
    """Of any other the library makes a store that panics when it is first used."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of its host, or its port
        return False
