"""The command line says what happened, in words and with its status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from benchmarks.checkpoints import SHAPES, write_checkpoint
from bowerbird.compiler import preparing
from bowerbird.compiler.commands import app
from bowerbird.engine.bundle import Bundle
from bowerbird.errors import BackendMissing

from ..engine.tiny_bundle import Tiny, write_tiny_bundle

if TYPE_CHECKING:
    from bowerbird.compiler.export import ExportCache
    from bowerbird.engine.backend import Backend
    from bowerbird.settings import Settings

runner = CliRunner()


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_tiny_bundle(tmp_path / "tiny")


def test_inspect_shows_parts_licence_and_digest(bundle: Bundle) -> None:
    result = runner.invoke(app, ["inspect", str(bundle.folder)], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for words in ("tiny 1", "text_encoder", "denoiser", "decoder", "Apache-2.0", bundle.digest):
        assert words in result.stderr


def test_inspect_says_what_a_person_wants_to_know(tmp_path: Path) -> None:
    tiny = Tiny(two_encoders=True, lora=True, tiny_decoder=True, more_sides=(32,))
    folder = write_tiny_bundle(tmp_path / "rich", tiny).folder
    shown = runner.invoke(app, ["inspect", str(folder)], env={"COLUMNS": "200"}).stderr
    for words in (
        "16x16, 32x32",
        "4 steps (of at most 8), guidance 3 (by a second row)",
        "weights in fp16",
        "at most 6 tokens",
        "2 layers of the denoiser, 2 layers of the text_encoder",
        "tiny decoder",
        "whole pictures were not compared",
        "not measured",
    ):
        assert words in shown


def test_verify_prints_the_digest_for_a_script(bundle: Bundle) -> None:
    result = runner.invoke(app, ["verify", str(bundle.folder)])
    assert (result.exit_code, result.stdout.split()[0]) == (0, bundle.digest)


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_an_altered_bundle_is_an_error_that_names_the_file(bundle: Bundle, command: str) -> None:
    (bundle.folder / "decoder.onnx").write_bytes(b"")
    result = runner.invoke(app, [command, str(bundle.folder)], env={"COLUMNS": "400"})
    assert result.exit_code == 1
    assert "decoder.onnx is not the file" in result.stderr
    assert "Traceback" not in result.stderr


def test_compile_refuses_what_is_no_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the compiler needs torch (extra `compiler`)")
    target = tmp_path / "bundle"
    result = runner.invoke(app, ["compile", str(tmp_path), "--to", str(target)], env={"COLUMNS": "400"})
    assert result.exit_code == 1
    assert "model_index.json is not a readable JSON file" in result.stderr
    assert not target.exists()


def test_compile_takes_a_checkpoint_of_ones_own(tmp_path: Path, exports: ExportCache) -> None:
    """What a person types, with what is said on the way; the sizes are theirs."""
    checkpoint = write_checkpoint(tmp_path / "mine", SHAPES["small-lcm"])
    cache = ["--cache", str(exports.folder)]
    wanted = ["--size", "16x16", "--no-lora", "--precision", "bf16", "--steps", "2", "--licence", "MIT"]
    result = runner.invoke(
        app, ["compile", str(checkpoint), "--to", str(tmp_path / "bundle"), *wanted, *cache], env={"COLUMNS": "200"}
    )
    assert result.exit_code == 0, result.output
    for words in ("a checkpoint of Stable Diffusion", "LCMScheduler: tables for 1-50 steps", "denoiser: ", "sealing"):
        assert words in result.stderr
    manifest = Bundle.open(tmp_path / "bundle").manifest
    assert (manifest.name, manifest.licence, manifest.precision) == ("mine", "MIT", "bf16")
    assert manifest.drawing is not None
    assert (manifest.drawing.default_steps, manifest.drawing.max_steps, manifest.lora) == (2, 50, {})


@pytest.mark.parametrize("size", ["512", "512x", "axb", "4x4"])
def test_compile_refuses_what_is_no_size(tmp_path: Path, size: str) -> None:
    pytest.importorskip("torch", reason="the compiler needs torch (extra `compiler`)")
    checkpoint = write_checkpoint(tmp_path / "mine", SHAPES["small-lcm"])
    result = runner.invoke(app, ["compile", str(checkpoint), "--to", str(tmp_path / "bundle"), "--size", size])
    assert result.exit_code == 2
    assert "is no size" in result.stderr


def test_what_is_computed_in_fp16_is_kept_in_fp16(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the compiler needs torch (extra `compiler`)")
    wanted = ["compile", str(tmp_path), "--to", str(tmp_path / "bundle"), "--half", "--precision", "bf16"]
    result = runner.invoke(app, wanted, env={"COLUMNS": "400"})
    assert result.exit_code == 2
    assert "kept in fp16" in result.stderr


def test_compile_for_a_gpu_that_is_not_here_adds_its_graphs_and_says_what_is_left(
    tmp_path: Path, exports: ExportCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything long, and again at the end."""
    monkeypatch.setattr(preparing, "open_backend", no_backend)
    checkpoint = write_checkpoint(tmp_path / "mine", SHAPES["small-lcm"])
    wanted = ["--size", "16x16", "--no-lora", "--backend", "cuda", "--backend", "tensorrt"]
    result = runner.invoke(
        app,
        ["compile", str(checkpoint), "--to", str(tmp_path / "bundle"), *wanted, "--cache", str(exports.folder)],
        env={"COLUMNS": "400"},
    )
    assert result.exit_code == 0, result.output
    before, after = result.stderr.split("a checkpoint of Stable Diffusion")
    for words in ("cuda is not here (no such runtime)", "`bowerbird prepare BUNDLE --backend tensorrt`"):
        assert words in before
        assert words in after
    assert Bundle.open(tmp_path / "bundle").part("denoiser").half == "denoiser_fp16.onnx"


def no_backend(settings: Settings) -> Backend:
    raise BackendMissing("no such runtime.")


def test_prepare_fills_the_cache_that_a_service_reads(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without torch, as where it serves."""
    monkeypatch.setenv("BOWERBIRD_CACHE", str(tmp_path / "cache"))
    command = (
        f"from bowerbird.compiler.commands import app; app(['prepare', {str(bundle.folder)!r}, '--backend', 'cpu'])"
    )
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.modules['torch'] = None; {command}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "denoiser: preparing for cpu" in run.stderr
    assert len(list((tmp_path / "cache" / "onnxruntime").glob("*/prepared.json"))) == len(bundle.manifest.parts)


def test_prepare_for_a_runtime_that_is_missing_is_an_error(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "open_backend", no_backend)
    result = runner.invoke(app, ["prepare", str(bundle.folder), "--backend", "tensorrt"], env={"COLUMNS": "200"})
    assert result.exit_code == 1
    assert "Not prepared. no such runtime." in result.stderr
