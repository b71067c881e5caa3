"""The form of `POST /v1/images/edits`, as OpenAI's client sends it: files and text fields, read within bounds.

A form larger than `MAX_FORM_BYTES` is refused before it is read whole; a file above 1 MB waits on disk, not in memory.
File names and the media types that a client states are not looked at: curation reads what a file is from its bytes.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from bowerbird.contracts import MAX_FILE_BYTES, MAX_FILE_PIXELS, OutputFormat
from bowerbird.errors import BowerbirdError, RequestInvalid
from bowerbird.gateway.api.body import bounded, refusal, unknown_field
from bowerbird.gateway.api.image_request import ImageRequest

MAX_FORM_BYTES = MAX_FILE_BYTES + 64 * 1024
"""Both files, the fields, and the boundaries around them."""
MAX_FIELDS = 64

_FILES = ("image", "mask")
_LIST = "[]"
"""What OpenAI's client puts behind the name of a field that is a list."""

_File = Annotated[str, Field(json_schema_extra={"contentMediaType": "application/octet-stream"})]
_SIZES = f"up to {MAX_FILE_BYTES // 1024**2} MiB together with the mask, and {MAX_FILE_PIXELS} pixels"


class EditImages(ImageRequest):
    """Draw `n` pictures of a prompt that begin with a picture."""

    output_format: OutputFormat = Field(default=OutputFormat.PNG, description="How the pictures are encoded.")
    strength: float | None = Field(
        default=None,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="How much may change: the part of the steps that are made, so at least 1 / steps. When absent, 1 "
        "with a mask and 0.6 without.",
    )

    NOT_HERE: ClassVar[Mapping[str, str]] = {
        **ImageRequest.NOT_HERE,
        "cache": "an edit is always drawn",
        "input_fidelity": "use strength",
        "lora": "LoRAs take part in /v1/images/generations",
        "markup": "use mask and prompt",
        "moderation": "the deployment's policy holds for everyone",
    }


class EditForm(EditImages):
    """Draw `n` pictures of a prompt that begin with a picture; the form, for the OpenAPI document."""

    image: _File = Field(
        description=f"One PNG, JPEG or WebP, {_SIZES}. It is turned as its EXIF says, scaled to cover the size that is "
        "drawn, and cut around its middle. Where it is fully transparent and there is no mask, it is its own mask."
    )
    mask: _File | None = Field(
        default=None,
        description="A picture with transparency of the same width and height: where it is fully transparent, the "
        "picture is drawn anew, everywhere else it stays as it is.",
    )


@dataclass(frozen=True, slots=True)
class EditFiles:
    """The files of a form; `close` them."""

    image: UploadFile
    mask: UploadFile | None

    async def read_image(self) -> bytes:
        """The picture's file, again and again."""
        await self.image.seek(0)
        return await self.image.read()

    async def read_mask(self) -> bytes:
        """The mask's file; nothing where there is none."""
        if self.mask is None:
            return b""
        await self.mask.seek(0)
        return await self.mask.read()

    async def read_both(self) -> bytes:
        """The picture's file, and the mask's behind it."""
        return await self.read_image() + await self.read_mask()

    @property
    def lengths(self) -> tuple[int, ...]:
        """How many bytes each of them has."""
        return tuple(file.size or 0 for file in (self.image, self.mask) if file is not None)

    async def digests(self) -> list[str]:
        """SHA-256 of each of them, 64 hexadecimal digits."""
        image = await asyncio.to_thread(_digest, await self.read_image())
        return [image] if self.mask is None else [image, await asyncio.to_thread(_digest, await self.read_mask())]

    async def close(self) -> None:
        """Forgets them."""
        for file in (self.image, self.mask):
            if file is not None:
                await file.close()


async def read_edit(request: Request) -> tuple[EditImages, EditFiles]:
    """What the form asks for; raises BodyTooLarge, RequestInvalid or FieldUnknown, naming the field."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise RequestInvalid("Content-Type must be multipart/form-data.", param="Content-Type")
    try:
        form = await MultiPartParser(
            request.headers, bounded(request, MAX_FORM_BYTES), max_files=len(_FILES) + 1, max_fields=MAX_FIELDS
        ).parse()
    except MultiPartException as error:
        raise RequestInvalid(f"The form cannot be read: {error.message}") from error
    try:
        return _sorted(form)
    except BowerbirdError:
        await form.close()
        raise


def _sorted(form: FormData) -> tuple[EditImages, EditFiles]:
    files: dict[str, UploadFile] = {}
    fields: dict[str, str] = {}
    for name, value in form.multi_items():
        plain = name.removesuffix(_LIST)
        if plain in files or plain in fields:
            raise RequestInvalid(f"{plain}: it was sent more than once. Accepted: one {plain}.", param=plain)
        if isinstance(value, UploadFile):
            if plain not in _FILES:
                raise _no_file(plain)
            files[plain] = value
        elif name in _FILES:
            raise RequestInvalid(f"{name}: text is not accepted. Accepted: a file.", param=name)
        else:
            fields[name] = value
    asked = _as_asked(fields)
    image = files.get("image")
    if image is None or not image.size:
        raise RequestInvalid("image is required: the bytes of one picture.", param="image")
    return asked, EditFiles(image, files.get("mask"))


def _as_asked(fields: dict[str, str]) -> EditImages:
    """Text as what each field is: a form has no numbers."""
    try:
        return EditImages.model_validate_strings(fields, strict=False)
    except ValidationError as error:
        raise refusal(error.errors(include_url=False)[0], EditImages) from None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _no_file(name: str) -> RequestInvalid:
    known: Any = EditImages.model_fields
    if name in known:
        return RequestInvalid(f"{name}: a file is not accepted. Accepted: text.", param=name)
    return unknown_field(name, EditImages)
