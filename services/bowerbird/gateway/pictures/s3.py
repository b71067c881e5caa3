"""Pictures in an S3 bucket (or anything that speaks S3); credentials and endpoint come from `AWS_*`, as everywhere.

One PUT is one object: it is there whole or not at all, and durable when S3 has answered.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from obstore.exceptions import BaseError
from obstore.store import S3Store

from bowerbird.errors import PictureLost
from bowerbird.gateway.pictures.store import checked, unavailable

if TYPE_CHECKING:
    from obstore.store import S3Config

CONNECT_TIMEOUT = timedelta(seconds=5)
REQUEST_TIMEOUT = timedelta(seconds=30)
RETRY_SECONDS = 10
"""The library tries again on its own; after that, the caller decides."""


class S3Pictures:
    """A picture store in a bucket, below the path of its URL."""

    def __init__(self, url: str, credentials: Mapping[str, str] | None = None) -> None:
        self._store = S3Store.from_url(
            url,
            config=cast("S3Config", dict(credentials or {})),
            client_options={"connect_timeout": CONNECT_TIMEOUT, "timeout": REQUEST_TIMEOUT, "allow_http": True},
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=RETRY_SECONDS)},
        )

    async def put(self, key: str, body: bytes, *, lasting: bool = True) -> None:
        """Keeps `body` as one object, which lasts in any case."""
        try:
            await self._store.put_async(checked(key), body, use_multipart=False)
        except BaseError as error:
            raise unavailable() from error

    async def get(self, key: str) -> bytes:
        """The object's bytes."""
        try:
            found = await self._store.get_async(checked(key))
            return bytes(await found.bytes_async())
        except FileNotFoundError as error:
            raise PictureLost("A stored picture is gone.") from error
        except BaseError as error:
            raise unavailable() from error

    async def delete(self, keys: Iterable[str]) -> None:
        """Removes the objects, many in one request."""
        if listed := [checked(key) for key in keys]:
            try:
                await self._store.delete_async(listed)
            except FileNotFoundError:
                return
            except BaseError as error:
                raise unavailable() from error

    async def keys(self, prefix: str) -> AsyncGenerator[str]:
        """The objects below a prefix, page by page."""
        try:
            async for page in self._store.list(prefix):
                for each in page:
                    yield each["path"]
        except BaseError as error:
            raise unavailable() from error

    async def remove_unfinished(self) -> int:
        """0: an interrupted PUT leaves nothing."""
        return 0
