"""The body of an edit in a line of a batch: the form's fields as JSON, its files as data URLs.

`image` and `mask` are `data:image/png;base64,…`, or OpenAI's reference to an image, `{"image_url": "data:…"}`; `images`
may name a list with one of them. Nothing is fetched from anywhere.
"""

from __future__ import annotations

import asyncio
import binascii
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import pybase64
from pydantic import Field, model_validator

from bowerbird.contracts import MAX_FILE_BYTES
from bowerbird.errors import RequestInvalid
from bowerbird.gateway.api.edit_request import EditImages
from bowerbird.gateway.editing import Upload

_ACCEPTED = "Accepted: one data URL in base64, data:image/png;base64,…, of a PNG, JPEG or WebP"

DataUrl = Annotated[str, Field(pattern=r"^data:[A-Za-z0-9.+/-]{0,64};base64,[A-Za-z0-9+/]+={0,2}$")]


class EditPictures(EditImages):
    """Draw `n` pictures of a prompt that begin with a picture; as a line of a batch says it."""

    image: DataUrl = Field(description=f"The picture; with the mask up to {MAX_FILE_BYTES // 1024**2} MiB.")
    mask: DataUrl | None = Field(default=None, description="As of the form.")

    NOT_HERE: ClassVar[Mapping[str, str]] = EditImages.NOT_HERE
    ACCEPTED: ClassVar[Mapping[str, str]] = {**EditImages.ACCEPTED, "image": _ACCEPTED, "mask": _ACCEPTED}
    PERSONAL: ClassVar[frozenset[str]] = EditImages.PERSONAL | {"image", "mask"}

    @model_validator(mode="before")
    @classmethod
    def _as_data_urls(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        plain = dict(fields)
        listed = plain.get("images")
        if isinstance(listed, list) and len(listed) == 1 and "image" not in plain:
            plain["image"] = plain.pop("images")[0]
        for name in ("image", "mask"):
            value = plain.get(name)
            if isinstance(value, dict) and value.keys() == {"image_url"}:
                plain[name] = value["image_url"]
        return plain


async def upload_of(asked: EditPictures) -> Upload:
    """The files of a line; raises RequestInvalid, naming the field."""
    image, mask = await asyncio.to_thread(_decoded, asked)

    async def read_image() -> bytes:
        return image

    async def read_mask() -> bytes:
        return mask

    return Upload(read_image, read_mask if asked.mask is not None else None, asked.strength)


def _decoded(asked: EditPictures) -> tuple[bytes, bytes]:
    image, mask = _file("image", asked.image), _file("mask", asked.mask or "")
    if len(image) + len(mask) > MAX_FILE_BYTES:
        fact = f"image: {len(image) + len(mask)} bytes with the mask. Accepted: up to {MAX_FILE_BYTES}."
        raise RequestInvalid(fact, param="image")
    return image, mask


def _file(name: str, url: str) -> bytes:
    try:
        return pybase64.b64decode(url.partition(",")[2], validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestInvalid(f"{name}: it is no base64. {_ACCEPTED}.", param=name) from error
