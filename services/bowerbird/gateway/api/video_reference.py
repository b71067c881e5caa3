"""`input_reference`: the picture that a clip begins with, as a form's file or as a data URL, read within bounds.

OpenAI's client sends a file; its types know `{"image_url": …}` and `{"file_id": …}` besides. A data URL is taken, in
JSON and in forms; nothing is fetched from anywhere, and the files of `/v1/files` are no pictures. What a file is,
curation reads from its bytes, as it does for edits.
"""

from __future__ import annotations

import asyncio
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import Annotated, Any

import pybase64
from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError
from starlette.datastructures import UploadFile

from bowerbird.contracts import MAX_FILE_BYTES, MAX_FILE_PIXELS
from bowerbird.errors import RequestInvalid
from bowerbird.gateway.clips.beginning import FIELD

MAX_URL_CHARACTERS = 4 * -(-MAX_FILE_BYTES // 3) + 128
"""Of the largest file as a data URL."""
IMAGE_URL, FILE_ID = "image_url", "file_id"
"""The keys of OpenAI's reference to a picture."""
MEMORY_BYTES = 1024**2
"""What is larger lies on disk until it is kept or refused, as the files of a form do."""

_DATA, _BASE64 = "data:", ";base64,"
_TYPE_CHARACTERS = 64
_HEAD_CHARACTERS = len(_DATA) + _TYPE_CHARACTERS + len(_BASE64)
_SIZES = f"a PNG, JPEG or WebP of up to {MAX_FILE_BYTES // 1024**2} MiB and {MAX_FILE_PIXELS} pixels"
_ACCEPTED = f"Accepted: {_SIZES}, as a form's file or as a data URL, data:image/png;base64,…"
_DATA_URL = {"type": "string", "pattern": "^data:[^,]{0,64};base64,[A-Za-z0-9+/]", "maxLength": MAX_URL_CHARACTERS}


def _data_url(stated: Any) -> Any:
    """The data URL in what was stated; what stands for none is refused with the reason."""
    if isinstance(stated, Mapping):
        if stated.keys() != {IMAGE_URL}:
            why = "the files of /v1/files are lines of batches. " if FILE_ID in stated else ""
            raise PydanticCustomError("no_picture", "{text}", {"text": f"{why}{_ACCEPTED}"})
        stated = stated[IMAGE_URL]
    begins = stated[:_HEAD_CHARACTERS] if isinstance(stated, str) else ""
    if begins.startswith(("http://", "https://")):
        raise PydanticCustomError("not_fetched", "{text}", {"text": f"nothing is fetched. {_ACCEPTED}"})
    if not begins.startswith(_DATA) or _BASE64 not in begins:
        raise PydanticCustomError("no_data_url", "{text}", {"text": _ACCEPTED})
    return stated


DataUrl = Annotated[
    str,
    BeforeValidator(_data_url),
    WithJsonSchema(
        {
            "anyOf": [
                _DATA_URL,
                {
                    "type": "object",
                    "properties": {IMAGE_URL: _DATA_URL},
                    "required": [IMAGE_URL],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]


@dataclass(frozen=True, slots=True)
class Reference:
    """A picture's file, and the digest of its bytes; `close` it."""

    file: UploadFile
    digest: str

    async def read(self) -> bytes:
        """The bytes, again and again."""
        await self.file.seek(0)
        return await self.file.read()

    async def close(self) -> None:
        """Forgets it."""
        await self.file.close()


async def reference_of(file: UploadFile) -> Reference:
    """The file of a form; raises RequestInvalid for one that is empty or too large."""
    if not file.size:
        raise RequestInvalid(f"{FIELD}: the file is empty. {_ACCEPTED}.", param=FIELD)
    if file.size > MAX_FILE_BYTES:
        fact = f"{FIELD}: it has {file.size} bytes. Accepted: up to {MAX_FILE_BYTES}."
        raise RequestInvalid(fact, param=FIELD)
    await file.seek(0)
    return Reference(file, await asyncio.to_thread(_digest, await file.read()))


async def decoded(url: str) -> Reference:
    """The file in a data URL; raises RequestInvalid."""
    try:
        content = await asyncio.to_thread(pybase64.b64decode, url.partition(",")[2], validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestInvalid(f"{FIELD}: it is no base64. {_ACCEPTED}.", param=FIELD) from error
    spooled: Any = SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115 - whoever has the reference closes it
    file = UploadFile(spooled, size=0)
    await file.write(content)
    try:
        return await reference_of(file)
    except RequestInvalid:
        await file.close()
        raise


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
