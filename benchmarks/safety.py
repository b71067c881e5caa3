"""`python -m benchmarks.safety`: what a check costs on one core, and how often it is right.

Cost: CPU time (`thread_time`, which a busy machine does not disturb) and wall time of whole prompt checks over the
labelled corpus and over texts of full length, some of them hostile; of frames through the image gates. Accuracy: by
category on the corpus, which the lexicons were written with, and on the holdout, which they were not; wrong alarms of
the image gates on drawn birds. What explicit pictures the graph misses is not measured: none are kept here.
"""

from __future__ import annotations

import logging
import resource
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import yaml

from benchmarks.results import record, show
from bowerbird.contracts import MAX_PROMPT_CHARACTERS, Action, Decision, PromptCheck
from bowerbird.safety.pipeline import PromptPipeline
from bowerbird.safety.service import load_checks
from bowerbird.settings import Settings
from bowerbird.training.drawing import draw
from bowerbird.training.pictures import scene_at

LABELS = Path(__file__).parent.parent / "tests" / "unit" / "safety"
LABELLED = {"corpus": LABELS / "corpus.yaml", "holdout": LABELS / "holdout.yaml"}
GOAL_PROMPT_MS, GOAL_FRAME_MS = 10.0, 40.0
REPEATS = 5
# A seed of pictures that no training stage uses.
BIRD_SEED = 20_261_121
Z_95 = 1.96

Entries = list[dict[str, Any]]


def main(
    birds: Annotated[int, typer.Option(help="drawn birds for the image gates' wrong alarms", min=8)] = 200,
) -> None:
    """Measures, prints tables, and writes `results/safety.json`."""
    started = time.process_time()
    checks = load_checks(Settings())
    logging.getLogger("bowerbird").setLevel(logging.WARNING)  # a line for each of thousands of decisions
    start = {"cpu_seconds": round(time.process_time() - started, 2), "resident_mib": _resident_mib()}
    labelled = {name: _entries(path) for name, path in LABELLED.items()}
    prompts = _prompt_costs(checks.prompts, labelled)
    frames = _frame_costs(checks.images.check)
    accuracy = {name: _accuracy(checks.prompts, entries) for name, entries in labelled.items()}
    alarms = _alarms(checks.images.check, birds)
    print(f"loading: {start['cpu_seconds']} s of CPU, then {start['resident_mib']} MiB resident (without BentoML)")
    show(
        f"One prompt check (goal: p99 {GOAL_PROMPT_MS:.0f} ms at 128 tokens)",
        ["prompts", "number", "CPU p50 ms", "CPU p99 ms", "wall p99 ms", "prompts/s a core"],
        [[name, *figures.values()] for name, figures in prompts.items()],
    )
    show(
        f"One frame through the image gates (goal: {GOAL_FRAME_MS:.0f} ms)",
        ["size", "frames", "CPU p50 ms", "CPU p99 ms", "wall p99 ms", "frames/s a core"],
        [[name, *figures.values()] for name, figures in frames.items()],
    )
    for name, figures in accuracy.items():
        show(f"Right answers on the {name}", ["category", "prompts", "right", "share", "95 %"], _rows(figures))
    print(f"image gates on {birds} drawn birds: {alarms}")
    measured: dict[str, Any] = {
        "start": start,
        "prompts": prompts,
        "frames": frames,
        "accuracy": accuracy,
        "drawn_birds": alarms,
    }
    record("safety", measured)


def _entries(path: Path) -> Entries:
    return [entry for group in yaml.safe_load(path.read_text("utf-8")) for entry in group["entries"]]


def _check_of(entry: dict[str, Any]) -> PromptCheck:
    return PromptCheck(prompt=entry["prompt"], negative_prompt=entry.get("negative_prompt"))


def _prompt_costs(pipeline: PromptPipeline, labelled: dict[str, Entries]) -> dict[str, dict[str, float]]:
    short = [_check_of(entry) for entries in labelled.values() for entry in entries]
    benign = [check.prompt for check in short if pipeline.check(check).action is Action.ALLOW]
    tokens_128 = [", ".join(benign[at : at + 12])[:600] for at in range(0, len(benign) - 12, 3)]
    full = [", ".join(benign[at : at + 60])[:MAX_PROMPT_CHARACTERS] for at in range(0, len(benign) - 60, 5)]
    hostile = ["i want to ", "k1ll 4 ", "how to make a ", "1 2 ", "a@b.", "x.y.z ", "n u d e ", "м у "]
    groups = {
        "labelled, as written": short,
        "600 characters, about 128 tokens": [PromptCheck(prompt=each) for each in tokens_128],
        "2 000 characters": [PromptCheck(prompt=each) for each in full],
        "2 000 characters, hostile": [PromptCheck(prompt=(each * 2_000)[:MAX_PROMPT_CHARACTERS]) for each in hostile],
    }
    return {name: _costs(pipeline.check, [(check,) for check in checks]) for name, checks in groups.items()}


def _frame_costs(check: Callable[..., object]) -> dict[str, dict[str, float]]:
    small = [draw(scene_at(BIRD_SEED, index)) for index in range(6)]
    large = [np.kron(frame, np.ones((4, 4, 1), np.uint8)) for frame in small]
    sets = {"256 x 256": small, "1024 x 1024": large}
    return {size: _costs(check, [(0, frame) for frame in frames]) for size, frames in sets.items()}


def _costs(work: Callable[..., object], inputs: Sequence[tuple[Any, ...]]) -> dict[str, float]:
    """Milliseconds of each input's fastest of five runs on either clock: what is left is the work, not the machine."""
    cpu, wall = [], []
    for arguments in inputs:
        times = []
        for _ in range(REPEATS):
            before = time.thread_time(), time.perf_counter()
            work(*arguments)
            times.append((time.thread_time() - before[0], time.perf_counter() - before[1]))
        cpu.append(min(each[0] for each in times) * 1000)
        wall.append(min(each[1] for each in times) * 1000)
    return {
        "number": len(inputs),
        "cpu_p50_ms": round(float(np.quantile(cpu, 0.5)), 3),
        "cpu_p99_ms": round(float(np.quantile(cpu, 0.99)), 3),
        "wall_p99_ms": round(float(np.quantile(wall, 0.99)), 3),
        "per_second_and_core": round(1000 / float(np.mean(cpu))),
    }


def _accuracy(pipeline: PromptPipeline, entries: Entries) -> dict[str, dict[str, int]]:
    """By category: how many prompts there are and how many got at least the action they should; `none` is benign."""
    number: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for entry in entries:
        decision = pipeline.check(_check_of(entry))
        category = "none" if entry["action"] == "allow" else entry["category"]
        number[category] += 1
        right[category] += _is_right(entry, decision, category)
    return {name: {"prompts": number[name], "right": right[name]} for name in sorted(number)}


def _is_right(entry: dict[str, Any], decision: Decision, category: str) -> bool:
    if category == "none":
        return decision.action is Action.ALLOW
    return decision.categories[category] and decision.action.strength >= Action(entry["action"]).strength


def _rows(figures: dict[str, dict[str, int]]) -> list[list[object]]:
    rows: list[list[object]] = []
    for name, each in figures.items():
        low, high = _wilson(each["right"], each["prompts"])
        share = each["right"] / each["prompts"]
        rows.append([name, each["prompts"], each["right"], f"{share:.2f}", f"{low:.2f} to {high:.2f}"])
    return rows


def _wilson(right: int, number: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (1927)."""
    share, spread = right / number, Z_95**2 / number
    middle = (share + spread / 2) / (1 + spread)
    half = Z_95 * (share * (1 - share) / number + spread / 4 / number) ** 0.5 / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def _alarms(check: Callable[..., Any], birds: int) -> dict[str, Any]:
    verdicts = [check(index, draw(scene_at(BIRD_SEED, index))) for index in range(birds)]
    scores = np.array([verdict.category_scores["sexual"] for verdict in verdicts])
    actions = Counter(str(verdict.action) for verdict in verdicts)
    return {
        "actions": dict(actions),
        "nsfw_p50": round(float(np.quantile(scores, 0.5)), 3),
        "nsfw_p99": round(float(np.quantile(scores, 0.99)), 3),
        "nsfw_highest": round(float(scores.max()), 3),
    }


def _resident_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    typer.run(main)
