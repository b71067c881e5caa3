"""The command line says what happened, in words and with its status."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from bowerbird.compiler.commands import app
from bowerbird.engine.bundle import Bundle

from ..engine.tiny_bundle import write_tiny_bundle

runner = CliRunner()


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_tiny_bundle(tmp_path / "tiny")


def test_inspect_shows_parts_licence_and_digest(bundle: Bundle) -> None:
    result = runner.invoke(app, ["inspect", str(bundle.folder)], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for words in ("tiny 1", "text_encoder", "denoiser", "decoder", "Apache-2.0", bundle.digest):
        assert words in result.stderr


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
