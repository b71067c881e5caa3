"""`AsyncClient`: a gateway, called from an event loop. `sync_client` is the same without `await`, method by method.

A drawing whose task is cancelled cancels its job before the cancellation goes on (within `FAREWELL_SECONDS`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

import httpx2
from tenacity import AsyncRetrying

from bowerbird.client import jobs, pictures, videos
from bowerbird.client.calls import Call, Event, File, Listening, Result
from bowerbird.client.connection import (
    DEFAULT_TIMEOUT_SECONDS,
    DEFAULT_URL,
    connection_options,
    fact_of,
    is_told_in_events,
    request_options,
    require_success,
    result_of,
)
from bowerbird.client.following import MAX_EVENT_BYTES, SILENCE_SECONDS, Following
from bowerbird.client.jobs import Job
from bowerbird.client.pictures import Drawing, DrawOptions, EditOptions, Preview
from bowerbird.client.retrying import DEFAULT_RETRIES, retry_policy
from bowerbird.client.rooms import AsyncRooms
from bowerbird.client.sync_client import FAREWELL_SECONDS, WAIT_SECONDS, Progress
from bowerbird.client.videos import Clip, ClipOptions, Video
from bowerbird.deadline import Deadline
from bowerbird.errors import BowerbirdError


class AsyncClient(AsyncRooms):
    """A gateway, called from an event loop; `timeout_seconds` is for each call in all, retries included."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        key: str | None = None,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        max_retries: int = DEFAULT_RETRIES,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._url, self._seconds, self._retries = url, timeout_seconds, max_retries
        self._http = httpx2.AsyncClient(transport=transport, **connection_options(url, key))
        super().__init__(self)

    async def draw(
        self,
        prompt: str,
        *,
        on_progress: Progress | None = None,
        wait_seconds: float = WAIT_SECONDS,
        **options: Unpack[DrawOptions],
    ) -> list[Drawing]:
        """Draws `n` pictures; what takes longer than `wait_seconds` becomes a job, which is followed to its end.

        With `on_progress` it is a job from the beginning, and everything that is heard of it is handed over: phase,
        place in the queue, ETA. Whoever gives up, or whose time is over, cancels it.
        """
        return await self._drawn(pictures.draw(prompt, options, 0 if on_progress else wait_seconds), on_progress)

    async def edit(
        self,
        image: File,
        prompt: str,
        *,
        mask: File | None = None,
        on_progress: Progress | None = None,
        wait_seconds: float = WAIT_SECONDS,
        **options: Unpack[EditOptions],
    ) -> list[Drawing]:
        """Draws `n` pictures that begin with a picture, (name, bytes or an open file); as a job as `draw` does."""
        call = pictures.edit(image, prompt, mask, options, 0 if on_progress else wait_seconds)
        return await self._drawn(call, on_progress)

    async def animate(
        self,
        prompt: str,
        *,
        input_reference: File | None = None,
        on_progress: Progress | None = None,
        **options: Unpack[ClipOptions],
    ) -> Clip:
        """Draws a clip: a job, which is followed to its end; what is heard of it is handed over to `on_progress`.

        Whoever gives up, or whose time is over, deletes it. It begins with the picture `input_reference`, where one is
        given: (name, bytes or an open file).
        """
        deadline = Deadline.after(self._seconds)
        call = videos.create_video(prompt, options, input_reference)
        try:
            video = await self._result(call, deadline)
            async with aclosing(self._heard(jobs.job_events(video.id), deadline)) as events:
                async for event in events:
                    if on_progress is not None:
                        on_progress(event)
            video = await self._result(videos.get_video(video.id), deadline)
            return await self._result(videos.video_content(video), deadline)
        except BaseException as error:
            if pictures.is_left_behind(error):
                await self._delete(call)
            raise

    def stream(
        self, prompt: str, *, partial_images: int = 2, **options: Unpack[DrawOptions]
    ) -> AsyncIterator[Preview | Drawing]:
        """Up to `partial_images` previews, and at last the picture; who stops listening stops the drawing."""
        return self._heard(pictures.stream(prompt, partial_images, options), Deadline.after(self._seconds))

    async def send(self, call: Call[Result]) -> Result:
        """Sends any call of this package, again where that may help; raises what the gateway answers with."""
        return await self._result(call, Deadline.after(self._seconds))

    def listen(self, listening: Listening[Event]) -> AsyncIterator[Event]:
        """The events of a stream, over as many connections as it takes; only silence is bounded."""
        return self._heard(listening, Deadline(math.inf))

    async def download(self, call: Call[bytes], path: Path) -> int:
        """Writes the body of an answer to a file, without holding it in memory; begins anew when it breaks off.

        The file appears when it is complete. Returns its bytes.
        """
        deadline, part = Deadline.after(self._seconds), path.with_name(f"{path.name}.part")

        async def attempt() -> httpx2.Response:
            response = await self._opened(call, deadline, SILENCE_SECONDS)
            try:
                if response.is_success:  # else `_opened` has read it
                    with await asyncio.to_thread(part.open, "wb") as file:
                        async for chunk in response.aiter_bytes():
                            await asyncio.to_thread(file.write, chunk)
            finally:
                await response.aclose()
            return response

        require_success(await self._tried(attempt, call, deadline))
        await asyncio.to_thread(part.replace, path)
        return (await asyncio.to_thread(path.stat)).st_size

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Closes the connections."""
        await self.close()

    async def _drawn(self, call: Call[list[Drawing] | Job], on_progress: Progress | None) -> list[Drawing]:
        deadline = Deadline.after(self._seconds)
        try:
            answer = await self._result(call, deadline)
            if isinstance(answer, Job):
                async with aclosing(self._heard(jobs.job_events(answer.id), deadline)) as events:
                    async for event in events:
                        if on_progress is not None:
                            on_progress(event)
                answer = await self._result(pictures.of_job(answer.id), deadline)
        except BaseException as error:
            if pictures.is_left_behind(error):
                await self._withdraw(call)
            raise
        return answer

    async def _result(self, call: Call[Result], deadline: Deadline) -> Result:
        return result_of(call, await self._tried(lambda: self._answered(call, deadline), call, deadline))

    async def _tried(
        self, attempt: Callable[[], Awaitable[httpx2.Response]], call: Call[Result], deadline: Deadline
    ) -> httpx2.Response:
        async def attempted() -> httpx2.Response:  # tenacity awaits what is a coroutine function, and only that
            return await attempt()

        policy = retry_policy(call.repeatable, deadline.remaining_seconds, self._retries)
        try:
            return await AsyncRetrying(**policy)(attempted)
        except httpx2.HTTPError as error:
            raise fact_of(self._url, error) from error

    async def _answered(self, call: Call[Result], deadline: Deadline) -> httpx2.Response:
        return await self._http.send(self._http.build_request(**request_options(call, deadline)))

    async def _opened(self, call: Call[Result], deadline: Deadline, silence: float) -> httpx2.Response:
        """The answer's head, and its body where it is an error."""
        request = self._http.build_request(**request_options(call, deadline, silence))
        response = await self._http.send(request, stream=True)
        if not is_told_in_events(response):
            await response.aread()
        return response

    async def _stream(self, call: Call[None], deadline: Deadline) -> httpx2.Response:
        return await self._tried(lambda: self._opened(call, deadline, SILENCE_SECONDS), call, deadline)

    async def _heard(self, listening: Listening[Event], deadline: Deadline) -> AsyncGenerator[Event]:
        following = Following(listening, self._retries, deadline)
        while not following.ended:
            call = following.call()
            response = await self._stream(call, following.deadline)
            if not is_told_in_events(response):
                require_success(response)
                return
            broken: BaseException | None = None
            try:
                async for each in httpx2.EventSource(response, MAX_EVENT_BYTES):
                    for event in following.news(each.event, each.id, each.data):
                        yield event
            except httpx2.TransportError as error:
                broken = error
            finally:
                await response.aclose()
            if not following.ended:
                await asyncio.sleep(following.broke(broken))

    async def _withdraw(self, call: Call[list[Drawing] | Job]) -> None:
        """Cancels the job that the call became, if it can be found."""
        with suppress(BowerbirdError):
            deadline = Deadline.after(FAREWELL_SECONDS)
            answer = await self._result(pictures.at_once(call), deadline)
            if isinstance(answer, Job):
                await self._result(jobs.cancel_job(answer.id), deadline)

    async def _delete(self, call: Call[Video]) -> None:
        """Deletes the clip that the call became: sent again under its key, it says which."""
        with suppress(BowerbirdError):
            deadline = Deadline.after(FAREWELL_SECONDS)
            video = await self._result(call, deadline)
            await self._result(videos.delete_video(video.id), deadline)
