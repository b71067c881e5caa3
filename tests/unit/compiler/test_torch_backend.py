"""torch behind the engine's interface computes what the compiled graphs compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the compiler needs torch (extra `compiler`)")

from bowerbird.compiler.checkpoint import Checkpoint  # noqa: E402
from bowerbird.compiler.families import family_of  # noqa: E402
from bowerbird.compiler.loading import load_component  # noqa: E402
from bowerbird.compiler.lora_graph import lora_part  # noqa: E402
from bowerbird.compiler.parts import parts_of  # noqa: E402
from bowerbird.compiler.torch_backend import TorchBackend  # noqa: E402
from bowerbird.engine.backend import BackendFailed, Input  # noqa: E402
from bowerbird.errors import BackendMissing, BundleInvalid  # noqa: E402

from .conftest import TOKENS  # noqa: E402

WIDTH = 16


def batch(rows: int) -> dict[str, Input]:
    random = np.random.default_rng(rows)
    return {
        "sample": random.standard_normal((rows, 4, 4, 4)).astype(np.float32),
        "timestep": random.uniform(0, 999, rows).astype(np.float32),
        "states": random.standard_normal((rows, TOKENS, WIDTH)).astype(np.float32),
    }


@pytest.fixture(scope="module")
def backend(checkpoint_folder: Path) -> TorchBackend:
    return TorchBackend(Checkpoint(checkpoint_folder))


def test_it_answers_what_the_component_answers(backend: TorchBackend, checkpoint_folder: Path) -> None:
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(checkpoint_folder / "unet")
    given = batch(2)
    with torch.inference_mode():
        expected = unet(*(torch.from_numpy(each) for each in given.values())).sample.numpy()
    output = backend.load(Path("denoiser.onnx"), rowwise=True).run(given)["output"]
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("role", "name", "value"),
    [
        ("text_encoder", "states", {"token_ids": np.ones((1, TOKENS), np.int64)}),
        ("decoder", "pictures", {"latents": np.zeros((1, 4, 4, 4), np.float32)}),
        ("encoder", "latents", {"pictures": np.zeros((1, 3, 8, 8), np.float32)}),
    ],
)
def test_every_role_has_its_ports(backend: TorchBackend, role: str, name: str, value: dict[str, Input]) -> None:
    answer = backend.load(Path(f"{role}.onnx")).run(value)
    assert list(answer) == [name]
    assert answer[name].dtype == np.float32


def test_in_sixteen_bits_it_is_nearly_the_same(backend: TorchBackend, checkpoint_folder: Path) -> None:
    half = TorchBackend(Checkpoint(checkpoint_folder), dtype=torch.bfloat16)
    assert half.number_bytes == 2
    full, nearly = (each.load(Path("denoiser.onnx")).run(batch(1))["output"] for each in (backend, half))
    np.testing.assert_allclose(full, nearly, atol=0.1)


def test_lora_banks_change_what_it_answers(backend: TorchBackend, checkpoint_folder: Path) -> None:
    checkpoint = Checkpoint(checkpoint_folder)
    (part,) = parts_of(checkpoint, family_of(checkpoint), "unet")
    _, banks = lora_part(part, load_component(checkpoint, "unet"))
    session = backend.load(Path("denoiser_lora.onnx"), rowwise=True)
    plain = backend.load(Path("denoiser.onnx")).run(batch(1))["output"]
    uses: dict[str, Input] = {
        "lora_slots": np.array([[1]], np.int64),
        "lora_weights": np.array([[1.0]], np.float32),
    }
    for value, changes in ((0.0, False), (0.1, True)):
        filled: dict[str, Input] = {}
        for bank in banks:
            for end, shape in (("down", (4, bank.in_features)), ("up", (bank.out_features, 4))):
                array = np.full((2, len(bank.modules), *shape), value, np.float32)
                filled[f"lora_{bank.name}_{end}"] = backend.resident(array)
        output = session.run({**batch(1), **uses, **filled})["output"]
        assert np.allclose(output, plain, atol=1e-6) is not changes


def test_a_resident_can_be_written(backend: TorchBackend) -> None:
    bank = backend.resident(np.zeros((2, 3), np.float32))
    bank.write(1, np.ones(3, np.float32))
    assert bank.tensor.tolist() == [[0, 0, 0], [1, 1, 1]]


def test_a_run_that_fails_is_a_fact_of_the_engine(backend: TorchBackend) -> None:
    with pytest.raises(BackendFailed, match="torch"):
        backend.load(Path("denoiser.onnx")).run(batch(1) | {"sample": np.zeros((1, 3, 4, 4), np.float32)})


def test_a_device_that_is_not_here_is_missing(checkpoint_folder: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("a CUDA device is here")
    with pytest.raises(BackendMissing, match="no CUDA device"):
        TorchBackend(Checkpoint(checkpoint_folder), device="cuda")


def test_a_role_that_the_checkpoint_has_not_is_refused(backend: TorchBackend) -> None:
    with pytest.raises(BundleInvalid, match="text_encoder_2"):
        backend.load(Path("text_encoder_2.onnx"))
