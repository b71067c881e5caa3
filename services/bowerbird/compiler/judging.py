"""A judge of pictures as a bundle: the two towers that `bowerbird train fledgling` leaves in a checkpoint's `judge/`.

`bowerbird compile CHECKPOINT/judge --to DIR` calls `compile_judge`. Format and gate are the same as for drawing, so
that curation opens it with the engine's own code; `judging` in `bundle.json` says how pictures are read and what
cosines mean.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from torch import nn

from bowerbird.compiler.checkpoint import LINEAGE, CheckpointUnsupported, read_json
from bowerbird.compiler.compiling import COMPILED_WITH, Identity
from bowerbird.compiler.export import ExportCache
from bowerbird.compiler.graphs import Component, Graphs, Report
from bowerbird.compiler.loading import hollow
from bowerbird.compiler.parts import JUDGE_PARTS, Shapes
from bowerbird.compiler.tokenizing import tokenizer_facts
from bowerbird.compiler.writing import Staging, now
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.bundle import TOKENIZER, Bundle, JudgingFacts, Manifest

CALIBRATION = "calibration.json"
JUDGE_CLASS = "bowerbird.training.judge.Judge"
COMPONENT = "judge"


def is_judge(folder: Path) -> bool:
    """True for the folder of a trained judge."""
    return (folder / "config.json").is_file() and read_json(folder / "config.json").get("class") == JUDGE_CLASS


def compile_judge(folder: Path, target: Path, identity: Identity, cache: ExportCache, report: Report) -> Bundle:
    """Writes the judge's bundle; tokenizer and lineage are those of the checkpoint around `folder`.

    Raises CheckpointUnsupported, BundleDiffers or TargetOccupied; then nothing is written.
    """
    staging = Staging(target)
    try:
        report("reading the judge")
        config = read_json(folder / "config.json")
        tokenizer, facts = tokenizer_facts(folder.parent / "tokenizer", int(config["text"]["tokens"]))
        (staging.folder / TOKENIZER).write_bytes(tokenizer)
        vocabulary = Tokenizer.from_str(tokenizer.decode()).get_vocab_size()
        shapes = Shapes(facts.length, vocabulary, image_size=int(config["side"]))
        graphs = Graphs([shapes], "fp16", cache, report)
        component = _component(folder, config, tokenizer)
        graphs.export(component)
        graphs.weigh([component], staging.folder)
        manifest = Manifest(
            format="bowerbird-bundle-2",
            name=identity.name,
            version=identity.version,
            licence=identity.licence,
            created=now(),
            lineage=read_json(folder.parent / LINEAGE) if (folder.parent / LINEAGE).exists() else {},
            files=staging.facts(),
            parts=graphs.facts(),
            configs={COMPONENT: config},
            tokenizer=facts,
            judging=_judging_facts(folder, config),
            parity=graphs.compare(staging.folder, CpuBackend()),
            compiled_with={name: version(name) for name in COMPILED_WITH},
        )
        report("sealing")
        return staging.seal(manifest)
    finally:
        staging.discard()


def _component(folder: Path, config: dict[str, Any], tokenizer: bytes) -> Component:
    from bowerbird.training.judge import load_judge

    def load() -> nn.Module:
        try:
            judge: nn.Module = load_judge(folder, Tokenizer.from_str(tokenizer.decode())).requires_grad_(False)
        except (KeyError, ValueError, RuntimeError) as error:
            raise CheckpointUnsupported(f"{folder} does not hold a judge of this version.") from error
        return judge

    return Component(COMPONENT, "Judge", config, JUDGE_PARTS, lambda: hollow(load()), load)


def _judging_facts(folder: Path, config: dict[str, Any]) -> JudgingFacts:
    """The towers read pixels as they are, 0 to 1: no mean, no deviation."""
    return JudgingFacts(
        image_size=int(config["side"]),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        embedding_dimension=int(config["width"]),
        calibration=read_json(folder / CALIBRATION),
    )
