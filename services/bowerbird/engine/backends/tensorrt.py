"""TensorRT through ONNX Runtime: engines for fixed shapes, built ahead by `bowerbird prepare --backend tensorrt`.

Building takes minutes, so no request and no start ever waits for it: `prepare` builds every engine that the bundle can
need (`tensorrt_profiles`) into the cache, and `load` refuses a bundle of which one is missing. An engine is good for
one part, shape, precision, GPU architecture, and version of ONNX Runtime and TensorRT; all of them are its key. Like
`cuda`, it never falls back to the CPU.

Not run on a GPU yet: TensorRT cannot be installed where this is tested. Options, profiles, keys, buckets, refusals and
the way from `prepare` to a run are, with ONNX Runtime's CPU provider standing in at the provider's call (`Machine`).
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime as ort
from pydantic import ValidationError

from bowerbird.engine.backend import Array, BackendFailed, Input, Session
from bowerbird.engine.backends.binding import BoundSession, Device, DeviceArray
from bowerbird.engine.backends.buckets import bucket_of, by_row, joined, rows_of, split
from bowerbird.engine.backends.cuda import ENTRIES
from bowerbird.engine.backends.nvidia import Gpu, open_driver
from bowerbird.engine.backends.onnx_runtime import RUNTIME, Provider, open_session, require_provider, session_options
from bowerbird.engine.backends.prepared import PreparedFiles
from bowerbird.engine.backends.tensorrt_profiles import (
    CONTEXT,
    OPTIONS,
    ROWS,
    TENSORRT,
    Profile,
    profiles_of,
    providers_for,
)
from bowerbird.engine.bundle import MANIFEST, Bundle, Manifest, is_denoiser, unreplaced
from bowerbird.errors import BackendMissing, BundleInvalid

LIBRARY = "libnvinfer.so.10"  # the major version that ONNX Runtime's provider is linked against


@dataclass(frozen=True, slots=True)
class Machine:
    """What is computed on: the versions and the GPU that engines depend on, and how a session is opened there."""

    device: Device
    facts: Mapping[str, str]
    free_bytes: int
    open: Callable[[Path, ort.SessionOptions, Sequence[Provider]], ort.InferenceSession]


def this_machine() -> Machine:
    """Raises BackendMissing when ONNX Runtime, TensorRT's library or a GPU is missing."""
    require_provider(TENSORRT)
    ort.preload_dlls()
    try:
        version = int(ctypes.CDLL(LIBRARY).getInferLibVersion())
    except OSError as error:
        raise BackendMissing(f"TensorRT is not here: {error}.") from error
    gpu = Gpu(open_driver())
    facts = {"runtime": RUNTIME, "tensorrt": str(version), "gpu": gpu.architecture}
    return Machine(gpu, facts, gpu.free_bytes(), open_session)


class TensorrtSession:
    """The engines of one part, one for each shape."""

    def __init__(self, engines: Mapping[Profile, BoundSession]) -> None:
        self._engines = {frozenset(profile.shapes): engine for profile, engine in engines.items()}
        self._buckets = sorted({profile.rows for profile in engines})

    def run(self, inputs: Mapping[str, Input]) -> dict[str, Array]:
        """See `Session.run`; raises BackendFailed for a shape that nothing was built for."""
        return joined([self._engine_for(part).run(part) for part in split(inputs, self._buckets[-1])])

    def _engine_for(self, inputs: Mapping[str, Input]) -> BoundSession:
        bucket = bucket_of(rows_of(inputs), self._buckets)
        rowwise = by_row(inputs)
        shapes = {
            name: (bucket, *value.shape[1:]) if name in rowwise else value.shape for name, value in inputs.items()
        }
        engine = self._engines.get(frozenset(shapes.items()))
        if engine is None:
            raise BackendFailed(f"No engine was built for {shapes}.")
        return engine


class TensorrtBackend:
    """Engines from `cache`; `lora_slots` is the number of LoRAs that the banks hold."""

    name = "tensorrt"
    efficient_rows = ROWS[-1]
    measure_rows = True
    number_bytes = 2 * len(ROWS)
    """fp16, once for each batch that an engine is built for."""

    def __init__(self, *, cache: Path, lora_slots: int, memory_bytes: int = 0, machine: Machine | None = None) -> None:
        self._machine = machine or this_machine()
        self._lora_slots = lora_slots
        self._timing = str(cache / "tensorrt" / "timing")
        self._prepared = PreparedFiles(cache / "tensorrt", swept=False)  # nobody builds again what was swept out
        self.memory_bytes = memory_bytes or self._machine.free_bytes

    def prepare(self, bundle: Bundle, report: Callable[[str], None]) -> None:
        """Builds every engine that is not in the cache yet; minutes each. `report` hears of each, in words.

        Raises BundleInvalid when TensorRT cannot build one, or the cache cannot be written.
        """
        for role, part in bundle.manifest.parts.items():
            for profile in profiles_of(bundle.manifest, role, self._lora_slots):
                report(f"TensorRT engine of {role} for {profile}")
                build = partial(self._build, bundle.path(part.graph), profile)
                if self._prepared.find(self._facts(bundle.part_digest(role), profile), build) is None:
                    raise BundleInvalid(f"The TensorRT engine of {role} for {profile} could not be built and kept.")

    def load(self, graph: Path, *, rowwise: bool = False, key: str | None = None) -> Session:
        """A session over the engines that `prepare` built. See `Backend.load`.

        Raises BundleInvalid, naming the shape, when one is missing.
        """
        manifest, role = _part_of(graph)
        engines = {}
        for profile in profiles_of(manifest, role, self._lora_slots):
            folder = self._prepared.existing(self._facts(key or "", profile))
            if folder is None:
                raise BundleInvalid(
                    f"No TensorRT engine of {role} for {profile} is in the cache for {self._machine.facts}: "
                    "`bowerbird prepare --backend tensorrt` builds it, on this kind of GPU."
                )
            capture = is_denoiser(role)
            providers = providers_for(profile, timing=self._timing, capture=capture, context=None)
            session = self._machine.open(folder / CONTEXT, _options(optimize=False), providers)
            engines[profile] = BoundSession(session, self._machine.device, capture=capture, buckets=(profile.rows,))
        return TensorrtSession(engines)

    def resident(self, array: Array) -> DeviceArray:
        """A copy on the GPU. See `Backend.resident`."""
        return DeviceArray(array, self._machine.device)

    def adopt_thread(self) -> None:
        """As it is: the GPU should not wait for it. See `Backend.adopt_thread`."""

    def interrupt(self) -> None:
        """Nothing: a step is one launch. See `Backend.interrupt`."""

    def _facts(self, key: str, profile: Profile) -> dict[str, str]:
        return {"part": key, "profile": str(profile), "options": json.dumps(dict(OPTIONS)), **self._machine.facts}

    def _build(self, graph: Path, profile: Profile, folder: Path) -> None:
        providers = providers_for(profile, timing=self._timing, capture=False, context=str(folder / CONTEXT))
        with unreplaced(graph.parent):
            self._machine.open(graph, _options(optimize=True), providers)
        if not (folder / CONTEXT).is_file():
            raise BundleInvalid(f"TensorRT did not take {graph} as a whole, so it cannot be built ahead.")


def _options(*, optimize: bool) -> Any:
    options = session_options(1, ENTRIES)
    if not optimize:  # a context has nothing to optimise, and ONNX Runtime advises against trying
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def _part_of(graph: Path) -> tuple[Manifest, str]:
    """The bundle's facts beside the graph, and the role it has there: engines are built for a bundle, not a graph."""
    try:
        manifest = Manifest.model_validate_json((graph.parent / MANIFEST).read_bytes())
        return manifest, next(role for role, part in manifest.parts.items() if part.graph == graph.name)
    except (OSError, ValidationError, StopIteration) as error:
        raise BundleInvalid(f"{graph} is not part of a bundle, and TensorRT runs nothing else.") from error
