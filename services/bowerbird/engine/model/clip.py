"""A clip: frames that are drawn together, by a graph that looks at a window of them at a time.

`drawing` makes a `ClipGroup` for each clip of an order; to `denoiser` it is a group like any other, whose rows are
windows of W frames (`bundle.MotionFacts.window`). A clip of more frames is several windows that overlap: in each step
all of them are denoised, one pass each, and what they answer is blended before the sampler's step. That step is linear
in the answer, so this blends latents (Bar-Tal et al., "MultiDiffusion", 2023). The windows of a loop go round the
circle of its frames. A clip of fewer frames is drawn as a whole window, of which the first leave.

A model that was taught circles of W frames which all begin at their beginning (`bundle.MotionFacts.circle`) draws frame
g of a clip at place g mod W of each window: windows that overlap then agree on what moves where, from the first step.

What light a clip shows is decided in its noisiest steps, and by each frame for itself if it is decided by a hair: one
evening in a clip of the day. There the frames may be given one mean of each channel (`MotionFacts.common_mean_from`);
what moves in them changes little of it. (That it is the low frequencies of noise which frames have to share: Wu et al.,
"FreeInit", 2024.)

Far windows would show another bird, so their frames are given the first window's noise again, in another order (Qiu et
al., "FreeNoise", 2024), and where the model was taught so, all frames have a part of their noise in common (Ge et al.,
"Preserve your own correlation", 2023).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bowerbird.engine.backend import Floats
from bowerbird.engine.bundle import MotionFacts
from bowerbird.engine.model.denoiser import Group
from bowerbird.engine.model.noise import ORDER_CALL, noise


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Frames that are denoised in one pass: which ones, in the order in which the model reads them, and how much each
    answer counts, float32 `[W, 1, 1, 1]`.

    Over all windows of a clip, the weights of each of its frames add up to 1.
    """

    frames: NDArray[np.intp]
    weights: Floats


@dataclass(frozen=True)
class ClipForm:
    """What a clip is made of: `drawn` frames are denoised, and `frames` leave.

    Where more leave than are drawn, the others lie between two of those; where fewer do, some are left out. In a `loop`
    the last frame goes over into the first.
    """

    motion: MotionFacts
    frames: int
    drawn: int
    loop: bool = False

    @property
    def held(self) -> int:
        """Frames that are denoised: a whole window, also where fewer are wanted."""
        return self.drawn if self.loop else max(self.drawn, self.motion.window)

    @cached_property
    def windows(self) -> tuple[Window, ...]:
        """Evenly spaced, each overlapping the next by at least `motion.overlap` frames."""
        size = self.motion.window
        ramp = np.minimum(np.arange(1, size + 1), np.arange(size, 0, -1)).clip(max=self.motion.overlap + 1)
        laid = []
        for start in self._starts():
            turned = start % size if self.motion.circle else 0
            laid.append((np.roll((start + np.arange(size)) % self.held, turned), np.roll(ramp, turned)))
        total = np.zeros(self.held)
        for frames, weights in laid:
            np.add.at(total, frames, weights)
        return tuple(
            Window(frames, np.asarray(weights / total[frames], np.float32)[:, None, None, None])
            for frames, weights in laid
        )

    def guidance(self, scale: float) -> Floats:
        """Of each frame that is denoised, float32 `[held, 1, 1, 1]`.

        A clip that is told a picture is guided the less the nearer a frame is to it, as diffusers does.
        """
        image = self.motion.image
        least = scale if image is None else min(image.min_guidance_scale, scale)
        return np.linspace(least, scale, self.held, dtype=np.float32)[:, None, None, None]

    @property
    def decodes(self) -> int:
        """Calls of the decoder that it takes."""
        return math.ceil(self.frames / self.motion.decoded_together)

    def chunk(self, part: int) -> tuple[range, list[int]]:
        """Which frames leave by call `part` of the decoder, and which it reads: always `decoded_together`.

        The last call reads some once more that have left, so that none is decoded beside fewer than the others are.
        """
        together = self.motion.decoded_together
        leaving = range(part * together, min(self.frames, (part + 1) * together))
        start = max(0, leaving.stop - together)
        return leaving, [min(start + place, self.frames - 1) for place in range(together)]

    def _starts(self) -> list[int]:
        size, stride = self.motion.window, self.motion.window - self.motion.overlap
        if self.loop:  # at least two, so that the seam of one is the middle of another
            count = max(2, math.ceil(self.drawn / stride))
            return [round(index * self.drawn / count) for index in range(count)]
        count = 1 + math.ceil((self.held - size) / stride)
        return [round(index * (self.held - size) / max(1, count - 1)) for index in range(count)]

    def noise(self, seed: int, call: int, shape: tuple[int, int, int]) -> Floats:
        """Standard normal float32 `[held, *shape]` for one call of the clip."""
        own = min(self.held, self.motion.window)
        common = self.motion.shared_noise
        fresh = noise(seed, call, (own + (common > 0), *shape))
        frames: Floats = fresh[list(self._order(seed, own))]
        if common:
            frames = np.float32(math.sqrt(common)) * fresh[own] + np.float32(math.sqrt(1 - common)) * frames
        return frames

    def _order(self, seed: int, own: int) -> Iterator[int]:
        """Whose noise each frame has: the window's own, then again and again those of a window before, shuffled."""
        order = list(range(own))
        stride = self.motion.window - self.motion.overlap
        while len(order) < self.held:
            before = order[len(order) - own :][:stride]
            shuffled = np.argsort(noise(seed, ORDER_CALL + len(order), (len(before),)), kind="stable")
            order += [before[place] for place in shuffled]
        yield from order[: self.held]

    def frame(self, latents: Floats, index: int) -> Floats:
        """Latents of frame `index` of those that leave: between the two nearest that were drawn, linearly.

        Where more are drawn than leave, the nearest: between two of those that move is neither.
        """
        last = self.drawn if self.loop else self.drawn - 1
        steps = self.frames if self.loop else self.frames - 1
        at, part = divmod(index * last, steps)
        if self.drawn > self.frames:
            at, part = (2 * index * last + steps) // (2 * steps), 0
        if not part:
            exact: Floats = latents[at]
            return exact
        between: Floats = latents[at] + np.float32(part / steps) * (latents[(at + 1) % self.drawn] - latents[at])
        return between


@dataclass(eq=False, kw_only=True)
class ClipGroup(Group):
    """One clip on its way: `state` is float32 `[K, held, channels, height, width]`; a call is a pass for each window.

    With `first`, all frames begin with its latents `[1, channels, height, width]`, and its mask pins some of them.
    """

    NAME: ClassVar = "Clip"

    form: ClipForm
    passed: int = field(default=0, init=False)
    _blended: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._blended = np.zeros_like(self.state[0])

    @property
    def window(self) -> int:
        """Frames of a row."""
        return self.form.motion.window

    @property
    def guidance(self) -> Floats:
        """See `Group.guidance`."""
        scales: Floats = self.form.guidance(self.guidance_scale)[self.form.windows[self.passed].frames]
        return scales

    def noise(self, call: int) -> Floats:
        """See `ClipForm.noise`."""
        return self.form.noise(self.seed, call, self.latent_shape)

    def sample(self) -> Floats:
        """The window that is next, float32 `[W, channels, height, width]`."""
        frames: Floats = super().sample()[self.form.windows[self.passed].frames]
        return frames

    def take(self, output: Floats, keep_clean: bool) -> None:
        """Blends a window's answer into the others'; after the last of them the clip goes on."""
        window = self.form.windows[self.passed]
        np.add.at(self._blended, window.frames, window.weights * output)
        self.passed += 1
        if self.passed == len(self.form.windows):
            super().take(self._agreed(), keep_clean)
            self.passed, self._blended = 0, np.zeros_like(self._blended)

    def _agreed(self) -> Floats:
        """What the windows answered, with one mean for all frames where the model wants that."""
        least = self.form.motion.common_mean_from
        if least is None or self.table.timesteps[self.call] < least:
            return self._blended
        means = self._blended.mean((2, 3), keepdims=True)
        common: Floats = self._blended - (means - means.mean(0, keepdims=True))
        return common
