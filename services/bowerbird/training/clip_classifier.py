"""The examiner of clips: names motion, species and season; taught on drawn clips only, used only by evaluation.

Stage `clip-classifier` of `bowerbird train fledgling`. It looks at every second frame and at what changed since the
frame before it, in no order that phase could matter to. It must name one of the motions: that sixteen times the same
picture is none of them, `clip_quality` measures.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bowerbird.training.checkpoints import Average, load_state, save_state, seed_step
from bowerbird.training.clip_pictures import ClipPictures, drawn_clips
from bowerbird.training.clips import MOTIONS, Clip
from bowerbird.training.config import ClipClassifierConfig, FledglingConfig
from bowerbird.training.devices import device_of, training_device
from bowerbird.training.monitor import Monitor
from bowerbird.training.scene import SEASONS, SPECIES
from bowerbird.training.towers import ConvTower

CLIP_HEADS: Final = {"motion": MOTIONS, "species": SPECIES, "season": SEASONS}
_FEATURES: Final = 96
_KERNEL: Final = 5
_LOOKED_AT: Final = slice(1, None, 2)
_WAVES: Final = 8
"""Patches a side that change from frame to frame, as a decoder's do that decodes each by itself."""
_AT_ONCE: Final = 20


class ClipClassifier(nn.Module):
    """A tower over frames and their changes, what its features do over time, and a linear head for each question."""

    def __init__(self, config: ClipClassifierConfig) -> None:
        super().__init__()
        self.tower = ConvTower(config.channels, _FEATURES, planes=6)
        self.over_time = nn.Conv1d(_FEATURES, _FEATURES, _KERNEL, padding=_KERNEL // 2)
        self.heads = nn.ModuleDict({name: nn.Linear(4 * _FEATURES, len(v)) for name, v in CLIP_HEADS.items()})

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        """float32 [n, frames, 3, side, side] in 0..1 to logits by head."""
        shown = frames[:, _LOOKED_AT]
        changes = (shown - frames[:, : frames.shape[1] - 1 : 2] + 1) / 2
        features = torch.tanh(self.tower(torch.cat([shown, changes], dim=2).flatten(0, 1)))
        each = features.unflatten(0, shown.shape[:2])
        moved = each.diff(dim=1).abs().mean(1)
        passing = self.over_time(each.transpose(1, 2)).amax(2)
        summary = torch.cat([each.mean(1), each.std(1), moved, passing], dim=1)
        return {name: head(summary) for name, head in self.heads.items()}


class ClipClassifierStage:
    """One run of the stage."""

    def __init__(self, config: FledglingConfig, folder: Path) -> None:
        self.own, self.folder, self.save_seconds = config.clip_classifier, folder, config.save_seconds
        torch.manual_seed(self.own.seed)
        self.model = ClipClassifier(self.own).to(training_device())
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1.0, weight_decay=0.02)
        self.average = Average(self.model, 0.99)
        self.step = 0
        state = load_state(folder / "clip_classifier.pt")
        if state is not None:
            self.average.restore(state["average"])
            self.model.load_state_dict(state.get("model", state["average"]))
            if "optimizer" in state:
                self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]

    def save(self) -> None:
        """Keep everything that a later run needs to continue."""
        state: dict[str, Any] = {"step": self.step, "model": self.model.state_dict(), "average": self.average.weights}
        save_state(self.folder / "clip_classifier.pt", state | {"optimizer": self.optimizer.state_dict()})

    def train_step(self, clips: NDArray[np.uint8], truth: list[Clip]) -> float:
        """One step; returns the sum of the cross-entropies."""
        own, rng = self.own, seed_step(self.own.seed, self.step)
        factor = min(1.0, (self.step + 1) / 50) * max(0.02, 1 - self.step / own.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = own.learning_rate * factor
        chosen = [int(index) for index in rng.integers(len(clips), size=own.batch)]
        begun = rng.integers(clips.shape[1], size=own.batch)  # anywhere on its circle
        wanted = _labels([truth[index] for index in chosen])
        shown = [np.roll(clips[index], start, axis=0) for index, start in zip(chosen, begun, strict=True)]
        frames = as_frames(np.stack(shown)).to(device_of(self.model))
        told = self.model(_worn(frames))
        losses = [functional.cross_entropy(told[name], wanted[name].to(frames.device)) for name in CLIP_HEADS]
        loss = torch.stack(losses).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.average.update(self.model, self.step)
        self.step += 1
        return float(loss.detach())

    def averaged(self) -> ClipClassifier:
        """The classifier with its averaged weights."""
        model = ClipClassifier(self.own)
        model.load_state_dict(self.average.weights)
        model.to(device_of(self.model)).eval()
        return model

    def run(self) -> ClipClassifier:
        """Train to the configured number of steps, then examine it; returns the averaged classifier."""
        if self.step >= self.own.steps:
            return self.averaged()
        clips, truth = self.drawn(self.own.data_seed, self.own.clips)
        last = time.monotonic()
        with Monitor("clip-classifier", self.own.steps, self.folder).watching(self.step) as monitor:
            while self.step < self.own.steps:
                monitor.step(self.step, self.train_step(clips, truth))
                if time.monotonic() - last > self.save_seconds:
                    self.save()
                    last = time.monotonic()
            self.save()
            monitor.figures(self.step, self.examined())
        return self.averaged()

    def examined(self) -> dict[str, float]:
        """Accuracy by head on drawn clips that it was not taught on."""
        clips, truth = self.drawn(self.own.data_seed + 500_000, self.own.examined)
        found = classified_clips(self.averaged(), clips)
        right = {name: np.mean([told == _asked(clip, name) for told, clip in zip(found[name], truth, strict=True)])
                 for name in CLIP_HEADS}  # fmt: skip
        return {name: float(value) for name, value in right.items()}

    def drawn(self, seed: int, count: int) -> tuple[NDArray[np.uint8], list[Clip]]:
        """Clips of a seed, uint8 [count, FRAMES, side, side, 3], and what they are."""
        wanted = ClipPictures(seed, count, self.own.side)
        return drawn_clips(self.folder / "clips", wanted, self.own.workers), wanted.clips()


@torch.no_grad()
def classified_clips(model: ClipClassifier, clips: NDArray[np.uint8]) -> dict[str, list[str]]:
    """What is most likely, in words, by head; clips are uint8 [n, FRAMES, side, side, 3] of the model's side."""
    place = device_of(model)
    parts = [model(as_frames(clips[start : start + _AT_ONCE]).to(place)) for start in range(0, len(clips), _AT_ONCE)]
    return {
        name: [values[index] for index in torch.cat([part[name] for part in parts]).argmax(1).tolist()]
        for name, values in CLIP_HEADS.items()
    }


def as_frames(clips: NDArray[np.uint8]) -> Tensor:
    """uint8 [n, frames, side, side, 3] as float32 [n, frames, 3, side, side] in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(clips.transpose(0, 1, 4, 2, 3))).float() / 255


def _worn(frames: Tensor) -> Tensor:
    """What a generated clip may suffer: blur, another brightness, and from frame to frame a little of it, and noise."""
    if torch.rand(()) < 0.5:
        shape = frames.shape
        padded = functional.pad(frames.flatten(0, 1), (1, 1, 1, 1), mode="replicate")
        frames = functional.avg_pool2d(padded, 3, 1).view(shape)
    gain, amount, wave = torch.rand(3, len(frames), 1, 1, 1, 1, device=frames.device)
    flicker = torch.rand(*frames.shape[:2], 1, 1, 1, device=frames.device)
    waves = torch.randn(frames.shape[0] * frames.shape[1], 3, _WAVES, _WAVES, device=frames.device)
    waves = functional.interpolate(waves, frames.shape[-2:], mode="bilinear").view_as(frames)
    noise = 0.03 * amount * torch.randn_like(frames) + 0.03 * wave * waves
    return (frames * (0.94 + 0.12 * gain + 0.02 * flicker) + noise).clamp(0, 1)


def _asked(clip: Clip, head: str) -> str:
    return clip.motion if head == "motion" else str(getattr(clip.scene, head))


def _labels(clips: list[Clip]) -> dict[str, Tensor]:
    """int64 [n] by head."""
    return {
        name: torch.tensor([values.index(_asked(clip, name)) for clip in clips]) for name, values in CLIP_HEADS.items()
    }
