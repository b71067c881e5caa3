"""`client.jobs.get(…)`, `client.batches.create(…)`, …: each route of the API as a method of both clients.

A method is the function that describes its request, and a client that sends what it describes: one line here, with the
signature and the docstring of that function. What needs more than one request is written out in the clients.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import update_wrapper
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from bowerbird.client import batches, feedback, jobs, models, pictures, provenance, rights, species, videos, webhooks
from bowerbird.client.calls import Call, Event, Listening, Result

Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")


class Sender(Protocol):
    """The blocking client, as far as a room needs it."""

    def send(self, call: Call[Answer]) -> Answer:
        """Sends a call."""

    def listen(self, listening: Listening[Answer]) -> Iterator[Answer]:
        """Listens to a stream."""


class AsyncSender(Protocol):
    """The awaited client, as far as a room needs it."""

    async def send(self, call: Call[Answer]) -> Answer:
        """Sends a call."""

    def listen(self, listening: Listening[Answer]) -> AsyncIterator[Answer]:
        """Listens to a stream."""


class Room:
    """Some routes of one client."""

    def __init__(self, sender: Sender) -> None:
        self.sender = sender


class AsyncRoom:
    """Some routes of one client, awaited."""

    def __init__(self, sender: AsyncSender) -> None:
        self.sender = sender


def asked(describe: Callable[Asked, Call[Result]]) -> Callable[Concatenate[Room, Asked], Result]:
    """The method that sends what `describe` describes."""

    def method(room: Room, /, *args: Asked.args, **kwargs: Asked.kwargs) -> Result:
        return room.sender.send(describe(*args, **kwargs))

    update_wrapper(method, describe)
    return method


def awaited(describe: Callable[Asked, Call[Result]]) -> Callable[Concatenate[AsyncRoom, Asked], Awaitable[Result]]:
    """The method that sends what `describe` describes, and is awaited."""

    async def method(room: AsyncRoom, /, *args: Asked.args, **kwargs: Asked.kwargs) -> Result:
        return await room.sender.send(describe(*args, **kwargs))

    update_wrapper(method, describe)
    return method


def heard(describe: Callable[Asked, Listening[Event]]) -> Callable[Concatenate[Room, Asked], Iterator[Event]]:
    """The method that listens to what `describe` describes."""

    def method(room: Room, /, *args: Asked.args, **kwargs: Asked.kwargs) -> Iterator[Event]:
        return room.sender.listen(describe(*args, **kwargs))

    update_wrapper(method, describe)
    return method


def heard_async(
    describe: Callable[Asked, Listening[Event]],
) -> Callable[Concatenate[AsyncRoom, Asked], AsyncIterator[Event]]:
    """The method that listens to what `describe` describes, with `async for`."""

    def method(room: AsyncRoom, /, *args: Asked.args, **kwargs: Asked.kwargs) -> AsyncIterator[Event]:
        return room.sender.listen(describe(*args, **kwargs))

    update_wrapper(method, describe)
    return method


class Jobs(Room):
    """`/v1/jobs`."""

    get = asked(jobs.get_job)
    list = asked(jobs.list_jobs)
    cancel = asked(jobs.cancel_job)
    events = heard(jobs.job_events)
    result = asked(pictures.of_job)


class AsyncJobs(AsyncRoom):
    """`/v1/jobs`."""

    get = awaited(jobs.get_job)
    list = awaited(jobs.list_jobs)
    cancel = awaited(jobs.cancel_job)
    events = heard_async(jobs.job_events)
    result = awaited(pictures.of_job)


class Videos(Room):
    """`/v1/videos`."""

    create = asked(videos.create_video)
    get = asked(videos.get_video)
    list = asked(videos.list_videos)
    delete = asked(videos.delete_video)
    content = asked(videos.video_content)


class AsyncVideos(AsyncRoom):
    """`/v1/videos`."""

    create = awaited(videos.create_video)
    get = awaited(videos.get_video)
    list = awaited(videos.list_videos)
    delete = awaited(videos.delete_video)
    content = awaited(videos.video_content)


class Files(Room):
    """`/v1/files`."""

    upload = asked(batches.upload_file)
    get = asked(batches.get_file)
    list = asked(batches.list_files)
    content = asked(batches.file_content)
    delete = asked(batches.delete_file)


class AsyncFiles(AsyncRoom):
    """`/v1/files`."""

    upload = awaited(batches.upload_file)
    get = awaited(batches.get_file)
    list = awaited(batches.list_files)
    content = awaited(batches.file_content)
    delete = awaited(batches.delete_file)


class Batches(Room):
    """`/v1/batches`."""

    create = asked(batches.create_batch)
    get = asked(batches.get_batch)
    list = asked(batches.list_batches)
    cancel = asked(batches.cancel_batch)


class AsyncBatches(AsyncRoom):
    """`/v1/batches`."""

    create = awaited(batches.create_batch)
    get = awaited(batches.get_batch)
    list = awaited(batches.list_batches)
    cancel = awaited(batches.cancel_batch)


class Feedback(Room):
    """`/v1/feedback`."""

    give = asked(feedback.give_feedback)
    list = asked(feedback.list_feedback)


class AsyncFeedback(AsyncRoom):
    """`/v1/feedback`."""

    give = awaited(feedback.give_feedback)
    list = awaited(feedback.list_feedback)


class Webhooks(Room):
    """`/v1/webhook_endpoints`."""

    create = asked(webhooks.create_webhook)
    get = asked(webhooks.get_webhook)
    list = asked(webhooks.list_webhooks)
    change = asked(webhooks.change_webhook)
    delete = asked(webhooks.delete_webhook)
    rotate_secret = asked(webhooks.rotate_webhook_secret)
    test = asked(webhooks.try_webhook)


class AsyncWebhooks(AsyncRoom):
    """`/v1/webhook_endpoints`."""

    create = awaited(webhooks.create_webhook)
    get = awaited(webhooks.get_webhook)
    list = awaited(webhooks.list_webhooks)
    change = awaited(webhooks.change_webhook)
    delete = awaited(webhooks.delete_webhook)
    rotate_secret = awaited(webhooks.rotate_webhook_secret)
    test = awaited(webhooks.try_webhook)


class Rights(Room):
    """`/v1/erasures` and `/v1/exports`; an export's archive is fetched by `download(rights.fetch_archive(…), path)`."""

    erase = asked(rights.erase)
    erasure = asked(rights.get_erasure)
    erasures = asked(rights.list_erasures)
    export = asked(rights.export)
    end_export = asked(rights.end_export)


class Rooms(Room):
    """All routes that are one request, by subject."""

    def __init__(self, sender: Sender) -> None:
        super().__init__(sender)
        self.jobs, self.videos = Jobs(sender), Videos(sender)
        self.files, self.batches = Files(sender), Batches(sender)
        self.feedback, self.webhooks, self.rights = Feedback(sender), Webhooks(sender), Rights(sender)

    model = asked(models.get_model)
    loras = asked(models.list_loras)
    models = asked(models.list_models)
    moderate = asked(provenance.moderate)
    check_provenance = asked(provenance.check_provenance)
    usage = asked(feedback.get_usage)
    draw_species = asked(species.draw_species)


class AsyncRights(AsyncRoom):
    """`/v1/erasures` and `/v1/exports`; an export's archive is fetched by `download(rights.fetch_archive(…), path)`."""

    erase = awaited(rights.erase)
    erasure = awaited(rights.get_erasure)
    erasures = awaited(rights.list_erasures)
    export = awaited(rights.export)
    end_export = awaited(rights.end_export)


class AsyncRooms(AsyncRoom):
    """All routes that are one request, by subject."""

    def __init__(self, sender: AsyncSender) -> None:
        super().__init__(sender)
        self.jobs, self.videos = AsyncJobs(sender), AsyncVideos(sender)
        self.files, self.batches = AsyncFiles(sender), AsyncBatches(sender)
        self.feedback, self.webhooks, self.rights = AsyncFeedback(sender), AsyncWebhooks(sender), AsyncRights(sender)

    model = awaited(models.get_model)
    loras = awaited(models.list_loras)
    models = awaited(models.list_models)
    moderate = awaited(provenance.moderate)
    check_provenance = awaited(provenance.check_provenance)
    usage = awaited(feedback.get_usage)
    draw_species = awaited(species.draw_species)
