"""The GPU script on a CPU, in miniature: every line runs, and says what it could not measure."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import pytest
import torch

from benchmarks.gpu.__main__ import main
from benchmarks.gpu.lora import Banks
from benchmarks.gpu.meter import Meter
from benchmarks.gpu.painter import Model, Painter
from benchmarks.gpu.peer import diffusers_config
from benchmarks.gpu.rows import ROWS, Bench
from benchmarks.gpu.shapes import MINIATURE, SDXL
from benchmarks.gpu.unet import UNet
from benchmarks.report import NOT_MEASURED

SDXL_PARAMETERS = 2_567_463_684
PROJECTION = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield
    torch.set_num_threads(before)


@pytest.fixture
def model() -> Model:
    return Model(MINIATURE, "cpu", torch.float32)


def bench() -> Bench:
    meter = Meter("cpu", time.monotonic() + 60, most=1)
    return Bench(MINIATURE, "cpu", torch.float32, meter, 32, 64, steps=1)


@pytest.mark.parametrize("name", ["G2", "G3", "G4", "G5", "G6", "G7"])
def test_a_row_runs_in_miniature(name: str) -> None:
    rows = list(ROWS[name](bench()))
    assert {row.id for row in rows} == {name}
    assert all(row.figure or row.note for row in rows)


def test_without_a_gpu_memory_and_utilisation_are_not_measured() -> None:
    memory, utilisation = ROWS["G6"](bench())
    assert memory.figure is utilisation.figure is None
    assert memory.holds is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_where_there_is_no_gpu_the_table_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["python -m benchmarks.gpu"])
    main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [f"| {name}" for name in sorted(ROWS)]
    assert all(f"{NOT_MEASURED} (no GPU here)" in line for line in lines[2:])


def test_the_denoiser_has_the_size_of_sdxl() -> None:
    with torch.device("meta"):
        assert sum(each.numel() for each in UNet(SDXL).parameters()) == SDXL_PARAMETERS


def test_the_miniature_has_the_structure_that_diffusers_builds() -> None:
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        theirs, ours = UNet2DConditionModel(**diffusers_config(MINIATURE)), UNet(MINIATURE)
    sizes = [sorted(tuple(each.shape) for each in unet.parameters()) for unet in (theirs, ours)]
    assert sizes[0] == sizes[1]


def test_rows_at_different_steps_are_as_if_they_were_alone(model: Model) -> None:
    painter = Painter(model, "eager")
    prompt = (*painter.encode(painter.prompts(3)), painter.time_ids(3, 4))
    latents, sigmas = painter.noise(3, 32), torch.tensor([14.0, 3.0, 0.5])
    together = painter.step(latents, sigmas, sigmas / 2, prompt)
    for row in range(3):
        one = slice(row, row + 1)
        alone = painter.step(latents[one], sigmas[one], sigmas[one] / 2, tuple(each[one] for each in prompt))
        torch.testing.assert_close(alone, together[one], rtol=1e-4, atol=1e-4)


def test_a_row_gets_its_own_loras_by_the_formula(model: Model) -> None:
    unet, generator = model.part(UNet), torch.Generator().manual_seed(1)
    banks = Banks(unet, slots=4, rank=2)
    for slot in (1, 2, 3):
        banks.write(slot, banks.random_lora(generator, pinned=False))
    projection = unet.get_submodule(PROJECTION)
    (bank,) = (each for each in banks if PROJECTION in each.modules)
    x = torch.randn(3, 5, projection.in_features, generator=generator)
    slots = torch.tensor([[1, 0], [2, 3], [0, 0]])
    weights = torch.tensor([[0.5, 1.0], [1.0, -2.0], [1.0, 1.0]])
    plain = projection(x)
    banks.attach(True)
    banks.gather(slots, weights)
    adapted = projection(x)
    banks.attach(False)
    for row in range(3):
        expected = plain[row]
        for slot, weight in zip(slots[row], weights[row], strict=True):
            down, up = bank.down[slot, projection.layer], bank.up[slot, projection.layer]
            expected = expected + weight * (x[row] @ down.T @ up.T)
        torch.testing.assert_close(adapted[row], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(adapted[2], plain[2], rtol=0, atol=1e-6)
