"""The judge: how well a picture fits a text; a CLIP in miniature, taught contrastively on drawings with its own seed.

Stage `judge` of `bowerbird train fledgling`; curation uses it, evaluation must not. Two towers that export to ONNX
one by one: pictures float32 [n, 3, 128, 128] in 0..1 (RGB, area-resized) and token ids int64 [n, 77], each to a unit
vector of 128; the score is their dot product. Batches hold several scenes of each species, so that pose and season
have to be told apart.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from bowerbird.training.captions import caption, examination_prompt
from bowerbird.training.checkpoints import Average, load_state, save_state, seed_step
from bowerbird.training.config import FledglingConfig, JudgeConfig
from bowerbird.training.devices import device_of, training_device
from bowerbird.training.monitor import Monitor
from bowerbird.training.pictures import PictureSet, drawn_pictures, scene_at
from bowerbird.training.scene import COMBINATIONS, SPECIES, Scene
from bowerbird.training.text import new_text_encoder, new_tokenizer, token_ids
from bowerbird.training.towers import ConvTower

_SPECIES_IN_A_BATCH = 8
_FIRST_SCALE = 14.0
_HIGHEST_LOG_SCALE = 4.3
_DISTRACTORS = 32


class TextTower(nn.Module):
    """CLIP text model, end-of-text state projected to the joint space."""

    def __init__(self, config: JudgeConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.encoder = new_text_encoder(config.text, tokenizer)
        self.last = nn.Linear(config.text.width, config.width, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        """int64 [n, tokens] to unit vectors float32 [n, width]."""
        return functional.normalize(self.last(self.encoder(ids).pooler_output), dim=-1)


class ImageTower(nn.Module):
    """Convolutional tower onto the unit sphere of the joint space."""

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        self.tower = ConvTower(config.channels, config.width)

    def forward(self, pixels: Tensor) -> Tensor:
        """float32 [n, 3, side, side] in 0..1 to unit vectors float32 [n, width]."""
        return functional.normalize(self.tower(pixels), dim=-1)


class Judge(nn.Module):
    """Both towers and the temperature of their comparison."""

    def __init__(self, config: JudgeConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.image = ImageTower(config)
        self.text = TextTower(config, tokenizer)
        self.log_scale = nn.Parameter(torch.tensor(float(np.log(_FIRST_SCALE))))

    def loss(self, pixels: Tensor, ids: Tensor) -> Tensor:
        """Symmetric cross-entropy of the similarities of a batch (CLIP, arXiv 2103.00020, figure 3)."""
        scale = self.log_scale.clamp(max=_HIGHEST_LOG_SCALE).exp()
        similarity = scale * self.image(pixels) @ self.text(ids).T
        target = torch.arange(len(similarity), device=similarity.device)
        return (functional.cross_entropy(similarity, target) + functional.cross_entropy(similarity.T, target)) / 2


def as_pixels(pictures: NDArray[np.uint8]) -> Tensor:
    """uint8 [n, h, w, 3] as float32 [n, 3, h, w] in 0..1."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float().div_(255)


def blurred_and_noisy(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """What a generated picture may suffer: a blur now and then, a little noise, a shift of brightness."""
    if rng.random() < 0.5:
        pixels = functional.avg_pool2d(functional.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, 1)
    gain, amount = torch.rand(2, len(pixels), 1, 1, 1, device=pixels.device)
    return (pixels * (0.94 + 0.12 * gain) + 0.03 * amount * torch.randn_like(pixels)).clamp(0, 1)


class JudgeStage:
    """One run of the stage."""

    def __init__(self, config: FledglingConfig, folder: Path) -> None:
        self.own, self.folder, self.save_seconds = config.judge, folder, config.save_seconds
        torch.manual_seed(self.own.seed)
        self.tokenizer = new_tokenizer(self.own.text.tokens)
        self.judge = Judge(self.own, self.tokenizer).to(training_device())
        self.optimizer = torch.optim.AdamW(self.judge.parameters(), lr=1.0, betas=(0.9, 0.98), weight_decay=0.02)
        self.average = Average(self.judge, 0.99)
        self.pictures = PictureSet(self.own.data_seed, self.own.pictures, self.own.side, COMBINATIONS)
        self.step = 0
        state = load_state(folder / "judge.pt")
        if state is not None:
            self.average.restore(state["average"])
            self.judge.load_state_dict(state.get("model", state["average"]))
            if "optimizer" in state:
                self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]

    def save(self) -> None:
        """Keep everything that a later run needs to continue."""
        state: dict[str, Any] = {"step": self.step, "model": self.judge.state_dict(), "average": self.average.weights}
        save_state(self.folder / "judge.pt", state | {"optimizer": self.optimizer.state_dict()})

    def train_step(self, pictures: NDArray[np.uint8], by_species: dict[str, list[tuple[int, Scene]]]) -> float:
        """One step on a batch whose scenes all differ in species, pose or season; returns the loss."""
        own, rng = self.own, seed_step(self.own.seed, self.step)
        rise, fall = min(1.0, (self.step + 1) / 80), max(0.02, 1 - self.step / own.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = own.learning_rate * rise * fall
        chosen = _different_scenes(rng, by_species, own.batch)
        place = device_of(self.judge)
        pixels = blurred_and_noisy(as_pixels(pictures[[index for index, _ in chosen]]).to(place), rng)
        ids = token_ids(self.tokenizer, [caption(scene, rng) for _, scene in chosen])
        loss = self.judge.loss(pixels, ids.to(place))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.judge.parameters(), 1.0)
        self.optimizer.step()
        self.average.update(self.judge, self.step)
        self.step += 1
        return float(loss.detach())

    def averaged(self) -> Judge:
        """The judge with its averaged weights."""
        judge = Judge(self.own, self.tokenizer)
        judge.load_state_dict(self.average.weights)
        judge.to(device_of(self.judge))
        judge.eval()
        return judge

    def run(self) -> Judge:
        """Train to the configured number of steps, then measure; returns the averaged judge."""
        pictures = np.array(drawn_pictures(self.folder, self.pictures))
        by_species: dict[str, list[tuple[int, Scene]]] = {name: [] for name in SPECIES}
        for index, scene in enumerate(self.pictures.scenes()):
            by_species[scene.species].append((index, scene))
        last = time.monotonic()
        with Monitor("judge", self.own.steps, self.folder).watching(self.step) as monitor:
            while self.step < self.own.steps:
                monitor.step(self.step, self.train_step(pictures, by_species))
                if time.monotonic() - last > self.save_seconds:
                    self.save()
                    last = time.monotonic()
            self.save()
            figures = calibrated(self.averaged(), self.own, self.tokenizer)
            (self.folder / "judge.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
            monitor.figures(self.step, {k: v for k, v in figures.items() if isinstance(v, float)})
        return self.averaged()


def _different_scenes(
    rng: np.random.Generator, by_species: dict[str, list[tuple[int, Scene]]], count: int
) -> list[tuple[int, Scene]]:
    share = -(-count // _SPECIES_IN_A_BATCH)
    chosen: list[tuple[int, Scene]] = []
    for number in rng.permutation(len(SPECIES))[:_SPECIES_IN_A_BATCH]:
        own = by_species[SPECIES[number]]
        found: dict[tuple[str, str], tuple[int, Scene]] = {}
        for place in rng.permutation(len(own)):
            index, scene = own[place]
            found.setdefault((scene.pose, scene.season), (index, scene))
            if len(found) == share:
                break
        chosen += found.values()
    return chosen[:count]


@torch.no_grad()
def calibrated(judge: Judge, config: JudgeConfig, tokenizer: Tokenizer) -> dict[str, Any]:
    """How the judge's cosine is spread on drawings it never saw, with wordings it never saw.

    `matching` and the `wrong_…` entries hold mean, standard deviation and the 5th, 50th and 95th percentile;
    `rank_1_of_33` is the share of pictures whose own prompt beats 32 prompts for other scenes.
    """
    from bowerbird.training.drawing import draw

    seed = config.data_seed + 500_000
    scenes = [scene_at(seed, index, COMBINATIONS) for index in range(config.examined)]
    rng = np.random.default_rng(seed)
    place = device_of(judge)
    images = torch.cat([judge.image(as_pixels(draw(scene, config.side)[None]).to(place)) for scene in scenes])

    def texts(wanted: list[Scene]) -> Tensor:
        return judge.text(token_ids(tokenizer, [examination_prompt(scene, rng) for scene in wanted]).to(place))

    own = texts(scenes)
    figures: dict[str, Any] = {"matching": _spread((images * own).sum(-1))}
    for name in ("species", "pose", "season"):
        wrong = [_with_other(scene, name, rng) for scene in scenes]
        figures[f"wrong_{name}"] = _spread((images * texts(wrong)).sum(-1))
        figures[f"prefers_right_{name}"] = float(
            ((images * own).sum(-1) > (images * texts(wrong)).sum(-1)).float().mean()
        )
    similarity = images @ own.T
    ranks = []
    for row, scene in enumerate(scenes):
        others = [i for i, other in enumerate(scenes) if other.combination != scene.combination]
        rivals = similarity[row, torch.from_numpy(rng.choice(others, min(_DISTRACTORS, len(others)), replace=False))]
        ranks.append(bool(similarity[row, row] > rivals.max()))
    return figures | {"rank_1_of_33": float(np.mean(ranks)), "pictures": len(scenes)}


def _with_other(scene: Scene, name: str, rng: np.random.Generator) -> Scene:
    from dataclasses import replace

    values = sorted({getattr(Scene(*combination), name) for combination in COMBINATIONS} - {getattr(scene, name)})
    return replace(scene, **{name: values[rng.integers(len(values))]})


def _spread(values: Tensor) -> dict[str, float]:
    low, middle, high = np.percentile(values.cpu().numpy(), (5, 50, 95))
    return {
        "mean": float(values.mean()), "std": float(values.std()),
        "p05": float(low), "p50": float(middle), "p95": float(high),
    }  # fmt: skip


def save_judge(judge: Judge, config: JudgeConfig, folder: Path, calibration: dict[str, Any]) -> None:
    """Write `config.json`, `model.safetensors` (float32) and `calibration.json` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "class": "bowerbird.training.judge.Judge",
        "pixels": "float32 [n, 3, side, side], RGB, 0 to 1, resized by area",
        "logit_scale": float(judge.log_scale.detach().exp()),
        **config.model_dump(mode="json"),
    }
    (folder / "config.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    (folder / "calibration.json").write_text(json.dumps(calibration, indent=2) + "\n", encoding="utf-8")
    save_file(
        {name: value.cpu().contiguous() for name, value in judge.state_dict().items()}, folder / "model.safetensors"
    )


def load_judge(folder: Path, tokenizer: Tokenizer) -> Judge:
    """The judge that `save_judge` wrote."""
    facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config = JudgeConfig.model_validate({name: facts[name] for name in JudgeConfig.model_fields if name in facts})
    judge = Judge(config, tokenizer)
    judge.load_state_dict(load_file(folder / "model.safetensors"))
    judge.eval()
    return judge
