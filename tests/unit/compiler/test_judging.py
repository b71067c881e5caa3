"""A trained judge becomes a bundle whose towers answer as they did."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.bundle import TOKENIZER
from bowerbird.engine.model.tokenizer import PromptTokenizer

torch = pytest.importorskip("torch", reason="the compiler needs torch (extra `compiler`)")
pytestmark = pytest.mark.timeout(600)  # exporting is half a minute of one core

CALIBRATION = {"matching": {"mean": 0.8, "std": 0.1}, "wrong_species": {"mean": 0.3, "std": 0.1}}


def test_both_towers_and_the_calibration_are_in_the_bundle(tmp_path: Path) -> None:
    from bowerbird.compiler.compiling import Identity
    from bowerbird.compiler.export import ExportCache
    from bowerbird.compiler.judging import compile_judge, is_judge
    from bowerbird.training.config import JudgeConfig, TextConfig
    from bowerbird.training.judge import Judge, save_judge
    from bowerbird.training.text import new_tokenizer

    torch.manual_seed(0)
    text = TextConfig(width=16, layers=1, heads=2, tokens=8)
    config = JudgeConfig(side=16, width=8, channels=(8, 16), text=text)
    tokenizer = new_tokenizer(8)
    judge = Judge(config, tokenizer).eval()
    folder = tmp_path / "checkpoint" / "judge"
    save_judge(judge, config, folder, CALIBRATION)
    (tmp_path / "checkpoint" / "tokenizer").mkdir()
    tokenizer.save(str(tmp_path / "checkpoint" / "tokenizer" / TOKENIZER))
    (tmp_path / "checkpoint" / "lineage.json").write_text(json.dumps({"seed": 0}))
    assert is_judge(folder)
    assert not is_judge(folder.parent)

    identity = Identity("judge", "1", "Apache-2.0", default_steps=1, default_guidance_scale=1.0)
    said: list[str] = []
    bundle = compile_judge(folder, tmp_path / "bundle", identity, ExportCache(tmp_path / "cache"), said.append)

    manifest = bundle.manifest
    assert manifest.drawing is None
    assert manifest.judging is not None
    assert manifest.judging.calibration == CALIBRATION
    assert (manifest.judging.image_size, manifest.judging.embedding_dimension) == (16, 8)
    assert manifest.lineage == {"seed": 0}
    ids = PromptTokenizer(bundle.path(TOKENIZER), bundle.tokenizer).ids("a red bird")[None]
    pictures = np.random.default_rng(0).random((2, 3, 16, 16), np.float32)
    with torch.inference_mode():
        expected = judge.text(torch.from_numpy(ids)).numpy(), judge.image(torch.from_numpy(pictures)).numpy()
    backend = CpuBackend(threads=1)
    texts = backend.load(bundle.path("text_encoder.onnx")).run({"token_ids": ids})["embeddings"]
    images = backend.load(bundle.path("image_encoder.onnx")).run({"pictures": pictures})["embeddings"]
    np.testing.assert_allclose(texts, expected[0], atol=5e-3)
    np.testing.assert_allclose(images, expected[1], atol=5e-3)
