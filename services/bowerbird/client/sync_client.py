"""`Client`: a gateway, called blockingly. `async_client` is the same with `await`, method by method.

Both carry requests and wait; what is asked, what an answer says, what is sent again and what of a stream is news stands
in the other files of this package, once. A connection pool lives as long as the client; use it as a context manager or
call `close`. Every method raises the classes of `bowerbird.errors` (PromptRefused, SizeUnsupported, …), and
GatewayUnreachable, ConnectionLost or DeadlineExceeded where nobody answers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

import httpx2
from tenacity import Retrying

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
from bowerbird.client.jobs import Job, JobEvent
from bowerbird.client.pictures import Drawing, DrawOptions, EditOptions, Preview
from bowerbird.client.retrying import DEFAULT_RETRIES, retry_policy
from bowerbird.client.rooms import Rooms
from bowerbird.client.videos import Clip, ClipOptions, Video
from bowerbird.deadline import Deadline
from bowerbird.errors import BowerbirdError

WAIT_SECONDS = 10.0
"""How long pictures are waited for by one request before they become a job that is followed."""
FAREWELL_SECONDS = 5.0
"""What telling the gateway that nobody waits any more may take."""

Progress = Callable[[JobEvent], None]


class Client(Rooms):
    """A gateway, called blockingly; `timeout_seconds` is for each call in all, retries included."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        key: str | None = None,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        max_retries: int = DEFAULT_RETRIES,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._url, self._seconds, self._retries = url, timeout_seconds, max_retries
        self._http = httpx2.Client(transport=transport, **connection_options(url, key))
        super().__init__(self)

    def draw(
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
        return self._drawn(pictures.draw(prompt, options, 0 if on_progress else wait_seconds), on_progress)

    def edit(
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
        return self._drawn(call, on_progress)

    def animate(
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
            video = self._result(call, deadline)
            with closing(self._heard(jobs.job_events(video.id), deadline)) as events:
                for event in events:
                    if on_progress is not None:
                        on_progress(event)
            video = self._result(videos.get_video(video.id), deadline)
            return self._result(videos.video_content(video), deadline)
        except BaseException as error:
            if pictures.is_left_behind(error):
                self._delete(call)
            raise

    def stream(
        self, prompt: str, *, partial_images: int = 2, **options: Unpack[DrawOptions]
    ) -> Iterator[Preview | Drawing]:
        """Up to `partial_images` previews, and at last the picture; who stops listening stops the drawing."""
        return self._heard(pictures.stream(prompt, partial_images, options), Deadline.after(self._seconds))

    def send(self, call: Call[Result]) -> Result:
        """Sends any call of this package, again where that may help; raises what the gateway answers with."""
        return self._result(call, Deadline.after(self._seconds))

    def listen(self, listening: Listening[Event]) -> Iterator[Event]:
        """The events of a stream, over as many connections as it takes; only silence is bounded."""
        yield from self._heard(listening, Deadline(math.inf))

    def download(self, call: Call[bytes], path: Path) -> int:
        """Writes the body of an answer to a file, without holding it in memory; begins anew when it breaks off.

        The file appears when it is complete. Returns its bytes.
        """
        deadline, part = Deadline.after(self._seconds), path.with_name(f"{path.name}.part")

        def attempt() -> httpx2.Response:
            response = self._opened(call, deadline, SILENCE_SECONDS)
            try:
                if response.is_success:  # else `_opened` has read it
                    with part.open("wb") as file:
                        for chunk in response.iter_bytes():
                            file.write(chunk)
            finally:
                response.close()
            return response

        require_success(self._tried(attempt, call, deadline))
        part.replace(path)
        return path.stat().st_size

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Closes the connections."""
        self.close()

    def _drawn(self, call: Call[list[Drawing] | Job], on_progress: Progress | None) -> list[Drawing]:
        deadline = Deadline.after(self._seconds)
        try:
            answer = self._result(call, deadline)
            if isinstance(answer, Job):
                with closing(self._heard(jobs.job_events(answer.id), deadline)) as events:
                    for event in events:
                        if on_progress is not None:
                            on_progress(event)
                answer = self._result(pictures.of_job(answer.id), deadline)
        except BaseException as error:
            if pictures.is_left_behind(error):
                self._withdraw(call)
            raise
        return answer

    def _result(self, call: Call[Result], deadline: Deadline) -> Result:
        return result_of(call, self._tried(lambda: self._answered(call, deadline), call, deadline))

    def _tried(self, attempt: Callable[[], httpx2.Response], call: Call[Result], deadline: Deadline) -> httpx2.Response:
        try:
            return Retrying(**retry_policy(call.repeatable, deadline.remaining_seconds, self._retries))(attempt)
        except httpx2.HTTPError as error:
            raise fact_of(self._url, error) from error

    def _answered(self, call: Call[Result], deadline: Deadline) -> httpx2.Response:
        return self._http.send(self._http.build_request(**request_options(call, deadline)))

    def _opened(self, call: Call[Result], deadline: Deadline, silence: float) -> httpx2.Response:
        """The answer's head, and its body where it is an error."""
        request = self._http.build_request(**request_options(call, deadline, silence))
        response = self._http.send(request, stream=True)
        if not is_told_in_events(response):
            response.read()
        return response

    def _stream(self, call: Call[None], deadline: Deadline) -> httpx2.Response:
        return self._tried(lambda: self._opened(call, deadline, SILENCE_SECONDS), call, deadline)

    def _heard(self, listening: Listening[Event], deadline: Deadline) -> Generator[Event]:
        following = Following(listening, self._retries, deadline)
        while not following.ended:
            call = following.call()
            response = self._stream(call, following.deadline)
            if not is_told_in_events(response):
                require_success(response)
                return
            broken: BaseException | None = None
            try:
                for each in httpx2.EventSource(response, MAX_EVENT_BYTES):
                    yield from following.news(each.event, each.id, each.data)
            except httpx2.TransportError as error:
                broken = error
            finally:
                response.close()
            if not following.ended:
                time.sleep(following.broke(broken))

    def _withdraw(self, call: Call[list[Drawing] | Job]) -> None:
        """Cancels the job that the call became, if it can be found."""
        with suppress(BowerbirdError):
            deadline = Deadline.after(FAREWELL_SECONDS)
            answer = self._result(pictures.at_once(call), deadline)
            if isinstance(answer, Job):
                self._result(jobs.cancel_job(answer.id), deadline)

    def _delete(self, call: Call[Video]) -> None:
        """Deletes the clip that the call became: sent again under its key, it says which."""
        with suppress(BowerbirdError):
            deadline = Deadline.after(FAREWELL_SECONDS)
            video = self._result(call, deadline)
            self._result(videos.delete_video(video.id), deadline)
