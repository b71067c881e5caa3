"""The examiner: names species, pose and season of a picture; taught on drawn pictures only, used only by evaluation.

Stage `classifier` of `bowerbird train fledgling`. Its seed, pictures and network are apart from the judge's, so that
what curation optimises is never what quality is measured with.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bowerbird.training.checkpoints import Average, load_state, save_state, seed_step
from bowerbird.training.config import ClassifierConfig, FledglingConfig
from bowerbird.training.devices import device_of, training_device
from bowerbird.training.judge import as_pixels, blurred_and_noisy
from bowerbird.training.monitor import Monitor
from bowerbird.training.pictures import PictureSet, drawn_pictures, scene_at
from bowerbird.training.scene import COMBINATIONS, POSES, SEASONS, SPECIES, Scene
from bowerbird.training.towers import ConvTower

_FEATURES = 96

HEADS = {"species": SPECIES, "pose": POSES, "season": SEASONS}


class Classifier(nn.Module):
    """A tower to 96 features, and one linear head each for species, pose and season."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.tower = ConvTower(config.channels, _FEATURES)
        self.heads = nn.ModuleDict({name: nn.Linear(_FEATURES, len(values)) for name, values in HEADS.items()})

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """float32 [n, 3, side, side] in 0..1 to logits by head, and `features` [n, 96]."""
        features = torch.tanh(self.tower(pixels))
        return {name: head(features) for name, head in self.heads.items()} | {"features": features}


def labels(scenes: list[Scene]) -> dict[str, Tensor]:
    """int64 [n] by head: the position of each scene's value in its vocabulary."""
    return {name: torch.tensor([values.index(getattr(s, name)) for s in scenes]) for name, values in HEADS.items()}


class ClassifierStage:
    """One run of the stage."""

    def __init__(self, config: FledglingConfig, folder: Path) -> None:
        self.own, self.folder, self.save_seconds = config.classifier, folder, config.save_seconds
        torch.manual_seed(self.own.seed)
        self.model = Classifier(self.own).to(training_device())
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1.0, weight_decay=0.02)
        self.average = Average(self.model, 0.99)
        self.pictures = PictureSet(self.own.data_seed, self.own.pictures, self.own.side, COMBINATIONS)
        self.step = 0
        state = load_state(folder / "classifier.pt")
        if state is not None:
            self.average.restore(state["average"])
            self.model.load_state_dict(state.get("model", state["average"]))
            if "optimizer" in state:
                self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]

    def save(self) -> None:
        """Keep everything that a later run needs to continue."""
        state: dict[str, Any] = {"step": self.step, "model": self.model.state_dict(), "average": self.average.weights}
        save_state(self.folder / "classifier.pt", state | {"optimizer": self.optimizer.state_dict()})

    def train_step(self, pictures: NDArray[np.uint8], truth: dict[str, Tensor]) -> float:
        """One step; returns the sum of the three cross-entropies."""
        own, rng = self.own, seed_step(self.own.seed, self.step)
        factor = min(1.0, (self.step + 1) / 50) * max(0.02, 1 - self.step / own.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = own.learning_rate * factor
        chosen = rng.integers(len(pictures), size=own.batch)
        place = device_of(self.model)
        told = self.model(blurred_and_noisy(as_pixels(pictures[chosen]).to(place), rng))
        loss = torch.stack(
            [functional.cross_entropy(told[name], truth[name][chosen].to(place)) for name in HEADS]
        ).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.average.update(self.model, self.step)
        self.step += 1
        return float(loss.detach())

    def averaged(self) -> Classifier:
        """The classifier with its averaged weights."""
        model = Classifier(self.own)
        model.load_state_dict(self.average.weights)
        model.to(device_of(self.model))
        model.eval()
        return model

    def run(self) -> Classifier:
        """Train to the configured number of steps, then examine it; returns the averaged classifier."""
        pictures = np.array(drawn_pictures(self.folder, self.pictures))
        truth = labels(self.pictures.scenes())
        last = time.monotonic()
        with Monitor("classifier", self.own.steps, self.folder).watching(self.step) as monitor:
            while self.step < self.own.steps:
                monitor.step(self.step, self.train_step(pictures, truth))
                if time.monotonic() - last > self.save_seconds:
                    self.save()
                    last = time.monotonic()
            self.save()
            monitor.figures(self.step, self.examined())
        return self.averaged()

    @torch.no_grad()
    def examined(self) -> dict[str, float]:
        """Accuracy by head on drawings that it was not taught on."""
        from bowerbird.training.drawing import draw

        seed = self.own.data_seed + 500_000
        scenes = [scene_at(seed, index, COMBINATIONS) for index in range(self.own.examined)]
        pictures = np.stack([draw(scene, self.own.side) for scene in scenes])
        found, truth = classified(self.averaged(), pictures), labels(scenes)
        return {name: float((found[name] == truth[name].numpy()).mean()) for name in HEADS}


@torch.no_grad()
def classified(model: Classifier, pictures: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """Most likely class by head, int64 [n], and `features`, float32 [n, 96]; pictures already have the model's side."""
    place = device_of(model)
    parts = [model(as_pixels(pictures[start : start + 50]).to(place)) for start in range(0, len(pictures), 50)]
    found = {name: torch.cat([part[name] for part in parts]).cpu() for name in (*HEADS, "features")}
    return {name: (value if name == "features" else value.argmax(1)).numpy() for name, value in found.items()}
