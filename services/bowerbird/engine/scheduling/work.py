"""What is scheduled: a request as the policy sees it, without arrays, threads or clocks.

A request is a `Work` of alike groups (frames of one size, steps and guidance, or clips); a `Task` is one of them. A
task is computed piece by piece, and between two pieces anything else may be computed:

    encode_text   once a request; encode_picture instead, where it begins with a picture: both, together
    denoise       one step; tasks of one `Bucket` share a call, each at its own step. A long clip's step is several
                  passes, one for each of its windows
    preview       after every k-th step but the last, where asked for, and so often as asked for
    decode        one frame, or a few together: the last piece of a picture, the last pieces of a clip

`scheduler` decides which pieces are next; `core` computes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

from bowerbird.contracts import MAX_STEPS, WorkClass

Owner = TypeVar("Owner")


class Stage(StrEnum):
    """What the next piece of a task is; the names are those of `Summary.seconds`."""

    ENCODE = "encode_text"
    ENCODE_PICTURE = "encode_picture"
    STEP = "denoise"
    PREVIEW = "preview"
    DECODE = "decode"


class Bucket(NamedTuple):
    """What tasks must have in common to share a denoiser call: latents' shape, and which graph.

    `window` is the number of frames in a row of the graph that draws clips; 0 is a still's.
    """

    shape: tuple[int, int, int]
    lora: bool = False
    window: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """By whom and until when work is wanted; `deadline` is a moment on the clock that the scheduler is told."""

    deadline: float
    work_class: WorkClass = WorkClass.INTERACTIVE
    flow: str = ""
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Shape:
    """How much there is to compute: `count` groups of `rows` rows, `calls` steps of `passes` passes each.

    Each group takes `decodes` calls of the decoder.
    """

    bucket: Bucket
    rows: int
    calls: int
    count: int = 1
    passes: int = 1
    decodes: int = 1
    preview_steps: int = 0
    max_previews: int = MAX_STEPS
    first: Stage = Stage.ENCODE
    """The piece before the first step: ENCODE or ENCODE_PICTURE."""

    @property
    def previews(self) -> int:
        """Of each group."""
        return min((self.calls - 1) // self.preview_steps, self.max_previews) if self.preview_steps else 0

    @property
    def seats(self) -> int:
        """Of a batch: a row of a clip is as heavy as a still's row for each of its frames."""
        return self.rows * max(1, self.bucket.window)


@dataclass(slots=True, eq=False)
class Task(Generic[Owner]):
    """One group on its way; `call` steps of it are computed, and `part` pieces of what it is at: passes or decodes."""

    work: Work[Owner]
    index: int
    call: int = 0
    stage: Stage = Stage.STEP
    part: int = 0

    @property
    def completes_step(self) -> bool:
        """True when the next pass is the last of its step."""
        return self.stage is Stage.STEP and self.part == self.work.shape.passes - 1

    @property
    def passes_left(self) -> int:
        """Of all its steps."""
        shape = self.work.shape
        return (shape.calls - self.call) * shape.passes - (self.part if self.stage is Stage.STEP else 0)

    @property
    def decodes_left(self) -> int:
        """Calls of the decoder."""
        return self.work.shape.decodes - (self.part if self.stage is Stage.DECODE else 0)

    @property
    def preview_is_due(self) -> bool:
        """True when the pass that comes next ends a step after which a preview is wanted."""
        shape, after = self.work.shape, self.call + 1
        if not self.completes_step or after > shape.previews * shape.preview_steps:
            return False
        return after % shape.preview_steps == 0


@dataclass(slots=True, eq=False)
class Work(Generic[Owner]):
    """An admitted request; `tasks` are those not yet ended, in the order of their frames, and `owner` is its caller's.

    `left` counts the pieces that are still to be computed, `computed_seconds` adds up those that were.
    """

    owner: Owner
    shape: Shape
    claim: Claim
    admitted: float
    encoded: bool = False
    computed_seconds: float = 0.0
    tasks: list[Task[Owner]] = field(init=False)
    left: dict[Stage, int] = field(init=False)

    def __post_init__(self) -> None:
        shape = self.shape
        self.tasks = [Task(self, index) for index in range(shape.count)]
        self.left = {
            shape.first: 1,
            Stage.STEP: shape.calls * shape.passes * shape.count,
            Stage.PREVIEW: shape.previews * shape.count,
            Stage.DECODE: shape.decodes * shape.count,
        }

    @property
    def ended(self) -> bool:
        """True when every task is."""
        return not self.tasks

    @property
    def stage(self) -> Stage:
        """Of the piece that is next: the first frame's, so that frames leave in their order."""
        return self.tasks[0].stage if self.encoded else self.shape.first

    def ready(self) -> int:
        """How many pieces could be computed now, side by side."""
        return len(self.tasks) if self.encoded else 1

    def joining(self, bucket: Bucket) -> list[Task[Owner]]:
        """Its tasks that could share a denoiser call of this bucket."""
        if not self.encoded or self.shape.bucket != bucket:
            return []
        return [task for task in self.tasks if task.stage is Stage.STEP]

    def interrupt(self) -> None:
        """What its first piece made ready was taken from it: that piece comes once more before any other."""
        self.encoded = False
        self.left[self.shape.first] += 1

    def advance(self, task: Task[Owner], stage: Stage) -> None:
        """Notes that this piece of the task was computed."""
        self.left[stage] -= 1
        match stage:
            case self.shape.first:
                self.encoded = True
            case Stage.DECODE:
                task.part += 1
                if task.part == self.shape.decodes:
                    self.tasks.remove(task)
            case Stage.PREVIEW:
                task.stage = Stage.STEP
            case _:
                self._step(task)

    def _step(self, task: Task[Owner]) -> None:
        """One pass more; after the last of a step, what follows the step."""
        if not task.completes_step:
            task.part += 1
            return
        due = task.preview_is_due
        task.call, task.part = task.call + 1, 0
        if task.call == self.shape.calls:
            task.stage = Stage.DECODE
        elif due:
            task.stage = Stage.PREVIEW


@dataclass(frozen=True, slots=True)
class Batch(Generic[Owner]):
    """Pieces that are computed together; only steps have more than one task."""

    stage: Stage
    bucket: Bucket
    tasks: tuple[Task[Owner], ...]

    @property
    def rows(self) -> int:
        """Rows of the denoiser call, or what a row of it would be."""
        return sum(task.work.shape.rows for task in self.tasks)

    def shares(self) -> dict[Task[Owner], float]:
        """What part of the batch each task is; they add up to 1."""
        rows = self.rows
        return {task: task.work.shape.rows / rows for task in self.tasks}
