"""How frames come in, and how work on them starts before the last one is there.

Called by the services that are sent pixels (safety's `/check_images`, curation's `/judge` and `/publish`, and what both
do with clips). A body is a stream of parts: the request first, then exactly as many frames as it announces. The caller
is the gateway; what breaks that is answered as its mistake (400) and without repeating what was sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from bowerbird.errors import RequestInvalid
from bowerbird.frames import Frames, frames_of
from bowerbird.parts import Kind, Part, StreamBroken, read_parts

Body = TypeVar("Body", bound=BaseModel)
Result = TypeVar("Result")


async def receive(request: Request, contract: type[Body]) -> tuple[Body, AsyncIterator[bytes]]:
    """The first part as a contract, and the bytes of each frame as they arrive; both raise RequestInvalid."""
    asked, parts = await begin(request, contract)
    return asked, frames_in(parts)


async def begin(request: Request, contract: type[Body]) -> tuple[Body, AsyncIterator[Part]]:
    """The first part as a contract, and the others as they arrive; both raise RequestInvalid."""
    parts = _parts(request)
    async for first in parts:
        if first.kind is not Kind.REQUEST:
            raise RequestInvalid(f"The first part must be the request, not {first.kind.value}.")
        return _read(first, contract), parts
    raise RequestInvalid("The body holds no parts.")


async def file_in(parts: AsyncIterator[Part]) -> bytes:
    """The next part, which is a file; raises RequestInvalid when it is anything else, or missing."""
    async for each in parts:
        if each.kind is not Kind.FILE:
            raise RequestInvalid(f"A file must follow, not {each.kind.value}.")
        return each.body
    raise RequestInvalid("A file is missing.")


def one_frame(raw: bytes, index: int) -> Frames:
    """The frame in a part's bytes, uint8 `[1, height, width, 3]`; raises RequestInvalid when it is anything else."""
    try:
        frames = frames_of(raw)
    except StreamBroken as error:
        raise RequestInvalid(f"Frame {index}: {error.message}.") from error
    if frames.shape[0] != 1 or frames.size == 0:
        raise RequestInvalid(f"Frame {index} must be one picture, not {list(frames.shape)}.")
    return frames


async def start_each(
    frames: AsyncIterator[bytes], count: int, work: Callable[[int, bytes], Awaitable[Result]]
) -> list[asyncio.Task[Result]]:
    """One running task for each frame, begun on its arrival; raises RequestInvalid when there are not `count`."""
    tasks: list[asyncio.Task[Result]] = []
    try:
        async for raw in frames:
            if len(tasks) == count:
                raise RequestInvalid(f"More frames came than the {count} that the request announces.")
            tasks.append(asyncio.ensure_future(work(len(tasks), raw)))
        if len(tasks) < count:
            raise RequestInvalid(f"{len(tasks)} frames came, the request announces {count}.")
    except BaseException:
        await give_up(tasks)
        raise
    return tasks


async def one_by_one(frames: AsyncIterator[bytes], count: int, work: Callable[[int, bytes], Awaitable[object]]) -> None:
    """Works on each frame before it takes the next, so that whoever sends is as fast as the work and no faster.

    Raises RequestInvalid when there are not `count`.
    """
    taken = 0
    async for raw in frames:
        if taken == count:
            raise RequestInvalid(f"More frames came than the {count} that the request announces.")
        await work(taken, raw)
        taken += 1
    if taken < count:
        raise RequestInvalid(f"{taken} frames came, the request announces {count}.")


async def clips_in(frames: AsyncIterator[bytes], clips: int, length: int) -> AsyncIterator[Frames]:
    """Each clip when its last frame is there, uint8 `[length, height, width, 3]`; all of them in the same memory.

    Raises RequestInvalid when there are not as many frames, or not all of one size.
    """
    clip: Frames | None = None
    taken = 0
    async for raw in frames:
        if taken == clips * length:
            raise RequestInvalid(f"More frames came than the {taken} that the request announces.")
        [frame] = one_frame(raw, taken)
        if clip is None:
            clip = np.empty((length, *frame.shape), np.uint8)
        if frame.shape != clip.shape[1:]:
            raise RequestInvalid(f"Frame {taken} is not of the size of the others.")
        clip[taken % length] = frame
        taken += 1
        if taken % length == 0:
            yield clip
    if taken < clips * length:
        raise RequestInvalid(f"{taken} frames came, the request announces {clips * length}.")


async def give_up(tasks: list[asyncio.Task[Any]]) -> None:
    """Stops what still runs and takes notice of what failed, so that nothing is reported later to nobody."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _parts(request: Request) -> AsyncIterator[Part]:
    try:
        async for each in read_parts(request.stream()):
            yield each
    except StreamBroken as error:
        raise RequestInvalid(f"The body is not a whole stream of parts: {error.message}.") from error
    except ClientDisconnect as error:
        raise RequestInvalid("The caller hung up.") from error


async def frames_in(parts: AsyncIterator[Part]) -> AsyncIterator[bytes]:
    """The bytes of each of the remaining parts; raises RequestInvalid when one is no frame."""
    async for each in parts:
        if each.kind is not Kind.FRAMES:
            raise RequestInvalid(f"After the request only frames may follow, not {each.kind.value}.")
        yield each.body


def _read(part: Part, contract: type[Body]) -> Body:
    try:
        return part.read(contract)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        param = ".".join(str(step) for step in first["loc"]) or None
        raise RequestInvalid(f"{param or 'The request'}: {first['msg']}.", param=param) from None
