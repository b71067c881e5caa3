"""Pictures in an S3 bucket (or anything that speaks S3), with the credentials that it has when it is asked (`bucket`).

One PUT is one object: it is there whole or not at all, and durable when S3 has answered.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from obstore.exceptions import BaseError

from bowerbird.bucket import Bucket, Patience
from bowerbird.errors import PictureLost
from bowerbird.gateway.pictures.store import checked, unavailable

PATIENCE = Patience(request=timedelta(seconds=30), retries=3, retrying=timedelta(seconds=10))
"""After that, the caller decides."""


class S3Pictures:
    """A picture store in a bucket, below the path of its URL."""

    def __init__(self, url: str, secrets: Sequence[Path] = (), own: Mapping[str, str] | None = None) -> None:
        """Raises what `Bucket` does."""
        self._bucket = Bucket(url, PATIENCE, secrets, own)

    async def put(self, key: str, body: bytes, *, lasting: bool = True) -> None:
        """Keeps `body` as one object, which lasts in any case."""
        try:
            await self._bucket.store.put_async(checked(key), body, use_multipart=False)
        except BaseError as error:
            raise unavailable() from error

    async def get(self, key: str) -> bytes:
        """The object's bytes."""
        try:
            found = await self._bucket.store.get_async(checked(key))
            return bytes(await found.bytes_async())
        except FileNotFoundError as error:
            raise PictureLost("A stored picture is gone.") from error
        except BaseError as error:
            raise unavailable() from error

    async def delete(self, keys: Iterable[str]) -> None:
        """Removes the objects, many in one request."""
        if listed := [checked(key) for key in keys]:
            try:
                await self._bucket.store.delete_async(listed)
            except FileNotFoundError:
                return
            except BaseError as error:
                raise unavailable() from error

    async def keys(self, prefix: str) -> AsyncGenerator[str]:
        """The objects below a prefix, page by page."""
        try:
            async for page in self._bucket.store.list(prefix):
                for each in page:
                    yield each["path"]
        except BaseError as error:
            raise unavailable() from error

    async def remove_unfinished(self) -> int:
        """0: an interrupted PUT leaves nothing."""
        return 0
