"""Drawn birds, a judge of colours as a bundle, a development certificate, and the service around them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from starlette.applications import Starlette
from tokenizers import Tokenizer, models, pre_tokenizers

from bowerbird.contracts import Origin, OutputFormat, PolicyReference, PublishRequest
from bowerbird.curation.certificates import SigningIdentity, load_identity
from bowerbird.curation.credentials import Credentials
from bowerbird.curation.encoder import open_judge
from bowerbird.curation.prompt_match import PromptMatch
from bowerbird.curation.publishing import Publisher, open_credentials
from bowerbird.curation.service import equip, routes
from bowerbird.curation.species_check import SpeciesJudge, read_species
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.settings import Settings
from bowerbird.training.drawing import draw
from bowerbird.training.scene import Scene
from bowerbird.worker import create_worker_app

Pixels = NDArray[np.uint8]

DIGEST = "sha256:" + "ab" * 32
WORDS = ("<pad>", "<begin>", "<end>", "<unk>", "red", "green", "blue")
TOKENS = 6


@pytest.fixture(scope="session")
def birds() -> list[Pixels]:
    """Four drawn pictures of 256 x 256 that have nothing in common."""
    scenes = (
        Scene("american robin", "perched", "winter"),
        Scene("blue jay", "flying", "summer"),
        Scene("mallard duck", "standing", "autumn", "dusk"),
        Scene("atlantic puffin", "nesting", "spring", "sunset"),
    )
    return [draw(scene) for scene in scenes]


@pytest.fixture(scope="session")
def judge_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A judge that knows three words: a picture's mean colour against the colours that its text names."""
    folder = tmp_path_factory.mktemp("judge")
    colours = np.zeros((len(WORDS), 3), np.float32)
    colours[4:] = np.eye(3)
    _save(
        folder / "image_encoder.onnx",
        [helper.make_node("ReduceMean", ["pixels", "axes"], ["embedding"], keepdims=0)],
        [numpy_helper.from_array(np.array([2, 3], np.int64), "axes")],
        ("pixels", TensorProto.FLOAT, ["batch", 3, 8, 8]),
    )
    _save(
        folder / "text_encoder.onnx",
        [
            helper.make_node("Gather", ["colours", "token_ids"], ["words"]),
            helper.make_node("ReduceSum", ["words", "axes"], ["embedding"], keepdims=0),
        ],
        [numpy_helper.from_array(colours, "colours"), numpy_helper.from_array(np.array([1], np.int64), "axes")],
        ("token_ids", TensorProto.INT64, ["batch", TOKENS]),
    )
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "bundle.json").write_text(json.dumps(_manifest(folder)))
    return folder


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    initializers: list[onnx.TensorProto],
    port: tuple[str, int, list[str | int]],
) -> None:
    out = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph(nodes, path.stem, [helper.make_tensor_value_info(*port)], [out], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


def _manifest(folder: Path) -> dict[str, object]:
    def port(name: str, dtype: str, shape: list[str | int]) -> dict[str, object]:
        return {"name": name, "dtype": dtype, "shape": shape}

    def tower(role: str, taken: dict[str, object]) -> dict[str, object]:
        made = port("embedding", "float32", ["batch", 3])
        return {"graph": f"{role}.onnx", "inputs": [taken], "outputs": [made], "component": role, "model_class": "T"}

    files = {
        path.name: {"sha256": "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
        for path in folder.iterdir()
    }
    return {
        "format": "bowerbird-bundle-2",
        "name": "colours",
        "version": "1",
        "licence": "Apache-2.0",
        "created": 0,
        "lineage": {},
        "files": files,
        "parts": {
            "image_encoder": tower("image_encoder", port("pixels", "float32", ["batch", 3, 8, 8])),
            "text_encoder": tower("text_encoder", port("token_ids", "int64", ["batch", TOKENS])),
        },
        "configs": {},
        "tokenizer": {"length": TOKENS, "begin_id": 1, "end_id": 2, "padding_id": 0},
        "judging": {
            "image_size": 8,
            "mean": [0, 0, 0],
            "std": [1, 1, 1],
            "embedding_dimension": 3,
            "calibration": {
                "matching": {"mean": 0.9, "std": 0.1, "p50": 0.9},
                "wrong_hue": {"mean": 0.1, "std": 0.1},
                "wrong_shade": {"mean": 0.5, "std": 0.2},
                "rank_1_of_33": 1.0,
            },
        },
        "parity": {},
        "compiled_with": {},
    }


@pytest.fixture(scope="session")
def prompt_match(judge_folder: Path) -> PromptMatch:
    return open_judge(judge_folder, CpuBackend(threads=1))


@pytest.fixture(scope="session")
def species_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of three species that the judge of colours tells apart."""
    path = tmp_path_factory.mktemp("species") / "species.toml"
    listed = [
        f'[[species]]\nname = "{colour.title()}"\nscientific = ["Avis {latin}"]\ncalled = "{colour}"'
        for colour, latin in (("red", "rubra"), ("green", "viridis"), ("blue", "caerulea"))
    ]
    path.write_text("\n".join(['version = 3\nsentences = ["{bird}", "{bird} {bird}"]', *listed]))
    return path


@pytest.fixture(scope="session")
def species(prompt_match: PromptMatch, species_file: Path) -> SpeciesJudge:
    """The judge of colours, asked for them."""
    return SpeciesJudge(prompt_match, read_species(species_file))


@pytest.fixture(scope="session")
def identity(tmp_path_factory: pytest.TempPathFactory) -> SigningIdentity:
    return load_identity(Settings(home=tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="session")
def credentials(identity: SigningIdentity) -> Credentials:
    return open_credentials(identity)


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    """Another installation: same software, another development certificate."""
    return open_credentials(load_identity(Settings(home=tmp_path_factory.mktemp("stranger"))))


@pytest.fixture(scope="session")
def publish_request() -> Callable[..., PublishRequest]:
    def make(output_format: OutputFormat, count: int = 1, compression: int = 100) -> PublishRequest:
        origin = Origin(
            request_id="req_1",
            trace_id="0123456789abcdef0123456789abcdef",
            model="fledgling",
            model_digest=DIGEST,
            seed_digests=[f"sha256:{index:064x}" for index in range(count)],
            policy=PolicyReference(id="default", version="2026-11-01", digest=DIGEST),
            services={"gateway": "0.1.0", "safety": "0.1.0"},
        )
        return PublishRequest(count=count, format=output_format, compression=compression, origin=origin)

    return make


@pytest.fixture(scope="session")
def published(
    credentials: Credentials, birds: list[Pixels], publish_request: Callable[..., PublishRequest]
) -> dict[OutputFormat, bytes]:
    """One bird in each format, labelled and signed."""
    publisher = Publisher(credentials)
    return {each: publisher.publish(0, birds[0], publish_request(each))[1] for each in OutputFormat}


@pytest.fixture
def app(prompt_match: PromptMatch, species: SpeciesJudge, credentials: Credentials) -> Iterator[Starlette]:
    app = create_worker_app("curation", routes())
    equip(app, prompt_match, species, lambda: credentials, threads=2)
    yield app
    app.state.threads.shutdown()


@pytest.fixture
async def client(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://curation") as client:
        yield client
