"""A bundle: a model as a content-addressed folder that is never half right.

`bowerbird compile` writes one, the services open one at start (`Bundle.open`). The folder holds `bundle.json` and the
files it lists with size and sha256: weightless ONNX graphs, one `weights.safetensors` whose tensors the graphs
reference as external data by offset, a `tokenizer.json` per text encoder, `samplers.json`, and `resizes.safetensors`
where a picture is looked at by an image encoder. No byte of a listed file is used before its digest was compared. The
bundle's own digest is the sha256 of `bundle.json` (so `sha256sum bundle.json` prints it), which states all the others:
one digest names the whole model, whatever the folder is called and wherever it is mounted.

A bundle for drawing has the section `drawing`; a judge of pictures has `judging`. Both are opened by the same code.

`bowerbird compile` puts a new bundle in an old one's place in one moment, but who reads several files may begin with
the one and end with the other. The manifest's stamp tells: a folder that was replaced while it was checked is checked
again, and one that was replaced later is refused (`path`, `unreplaced`), never half of each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from bowerbird.contracts import MAX_STEPS, Contract, Digest, Size
from bowerbird.engine.parity import HalfParity, ParityFacts, PictureParity
from bowerbird.errors import BundleInvalid

MANIFEST = "bundle.json"
WEIGHTS = "weights.safetensors"
TOKENIZER, TOKENIZER_2 = "tokenizer.json", "tokenizer_2.json"
SAMPLERS = "samplers.json"
RESIZES = "resizes.safetensors"
"""How pictures become as small as the image encoder reads them; of bundles that have one."""
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
ATTEMPTS = 3
"""To open a folder that is being replaced."""
MOTION = "motion_denoiser"
"""Role of the denoiser that draws clips."""
IMAGE_ENCODER = "image_encoder"
"""Role of what sees the picture that a clip is told."""
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")
"""Roles whose states, side by side in this order, the denoiser attends to; all but Stable Diffusion XL have one."""

Precision = Literal["fp16", "bf16", "fp32", "int8"]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=100)]


class FileFacts(Contract):
    """What a file of the bundle must be."""

    sha256: Digest
    bytes: int = Field(ge=0)


class Port(Contract):
    """One input or output of a graph; a dimension is a number or the name of a free one (`batch`)."""

    name: str
    dtype: Literal["float32", "float16", "int64"]
    shape: list[int | str]


class PartFacts(Contract):
    """One graph of the bundle: the file, its ports, and which of the checkpoint's components it came from.

    `component` is the checkpoint's folder, the key in `configs`, and the prefix of its tensors in the weights.
    """

    graph: FileName
    half: FileName | None = Field(default=None, description="the same ports and weights, computed in fp16: for a GPU")
    inputs: list[Port]
    outputs: list[Port]
    component: str
    model_class: str


class TokenizerFacts(Contract):
    """How token ids become the text encoder's input: begin, the prompt's ids, end, then padding up to `length`."""

    length: int = Field(ge=3, description="ids of one sequence, with begin and end")
    begin_id: int = Field(ge=0)
    end_id: int = Field(ge=0)
    padding_id: int = Field(ge=0)

    @property
    def max_prompt_tokens(self) -> int:
        """Tokens of a prompt that fit, without begin and end."""
        return self.length - 2


class LatentFacts(Contract):
    """The denoiser's canvas: `[channels, height / downscale, width / downscale]`.

    Every graph reads and answers latents as the denoiser sees them: an autoencoder's scaling and shift are in its
    graphs.
    """

    channels: int = Field(ge=1)
    downscale: int = Field(ge=1)

    def shape(self, size: Size) -> tuple[int, int, int]:
        """Of one picture's latents."""
        return self.channels, size.height // self.downscale, size.width // self.downscale


class LinearPreview(Contract):
    """What a picture will look like, without a decoder: each latent pixel becomes `scale` x `scale` RGB pixels.

    Pixel (y, x) of colour c in the block is `weights[(c * scale + y) * scale + x] @ latent + bias[same]`, -1..1.
    """

    scale: int = Field(ge=1, le=8)
    weights: list[list[float]] = Field(description="3 * scale * scale rows of one factor per latent channel")
    bias: list[float]


class LoraBank(Contract):
    """The matrices of one shape that a LoRA may change; a graph's inputs `lora_<name>_down` and `lora_<name>_up`.

    `down` is `[slots, layers, rank, in_features]`, `up` `[slots, layers, out_features, rank]`; layer k belongs to
    `modules[k]`, a module's path in the checkpoint's component as diffusers and PEFT name it.
    """

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    in_features: int = Field(ge=1)
    out_features: int = Field(ge=1)
    modules: list[str] = Field(min_length=1)


class ImageConditioning(Contract):
    """What clips are told of the picture that they begin with, in place of a prompt; see `model.image_conditioning`.

    Guidance goes evenly from `min_guidance_scale`, for the first frame of a window, to what is asked, for the last.
    """

    motion_bucket: float = Field(default=127.0, ge=0, description="how much moves, as the model was taught to count it")
    noise_strength: float = Field(default=0.02, ge=0, description="of the noise on the picture, whose range is -1..1")
    min_guidance_scale: float = Field(default=1.0, ge=1)


class MotionFacts(Contract):
    """The clips of a bundle that has a part `motion_denoiser`, each row of which is a window of frames."""

    window: int = Field(ge=2, description="frames of a row: what the model looks at together")
    overlap: int = Field(ge=1, description="frames that neighbouring windows of a longer clip share")
    max_frames: int = Field(ge=2, description="that are drawn for one clip")
    frames_per_second: float = Field(gt=0, description="of the clips it was taught on")
    shared_noise: float = Field(
        default=0.0, ge=0, lt=1, description="part of its noise's variance that all frames of a clip have in common"
    )
    circle: bool = Field(
        default=False, description="frame i of a window is always the i-th of a motion that begins anew after the last"
    )
    common_mean_from: float | None = Field(
        default=None,
        ge=0,
        description="in steps of this timestep and above all frames are given one mean of each channel; None: in none",
    )
    decoded_together: int = Field(default=1, ge=1, description="frames that the decoder reads at a time")
    image: ImageConditioning | None = Field(default=None, description="None: its clips are told a prompt")

    @model_validator(mode="after")
    def _windows_go_on(self) -> MotionFacts:
        if not self.overlap < self.window <= self.max_frames:
            raise ValueError("overlap must be less than window, and window at most max_frames")
        if self.image is not None and self.max_frames > self.window:
            raise ValueError("every window of a clip that is told a picture begins with it, so there is one")
        return self


class DrawingFacts(Contract):
    """What a bundle can draw, and what it does when nothing is asked."""

    sizes: list[Size] = Field(min_length=1)
    latents: LatentFacts
    sampler: str = Field(description="diffusers' scheduler class that samplers.json was derived from")
    max_steps: int = Field(ge=1, le=MAX_STEPS)
    default_steps: int = Field(ge=1, le=MAX_STEPS)
    default_guidance_scale: float = Field(ge=1)
    preview: LinearPreview | None = Field(default=None, description="used where the bundle has no part `preview`")
    size_conditioned: bool = Field(default=False, description="the denoiser reads `time_ids` [6]: sizes and crop")
    zero_empty_negative: bool = Field(
        default=False, description="no negative prompt is zeros, not an encoded empty text (Stable Diffusion XL)"
    )
    embeds_guidance: bool = Field(
        default=False,
        description="the denoiser reads `guidance` and there is no second row for the negative prompt (LCM)",
    )
    motion: MotionFacts | None = Field(default=None, description="its clips; None: it draws none")

    @property
    def reads_prompts(self) -> bool:
        """False of clips that are told a picture instead."""
        return self.motion is None or self.motion.image is None


class JudgingFacts(Contract):
    """How a judge reads a picture, and what its similarities mean.

    The image encoder reads float32 `[n, 3, size, size]`: RGB in 0..1, resized, minus `mean`, over `std`.
    """

    image_size: int = Field(ge=8)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    embedding_dimension: int = Field(ge=1)
    calibration: dict[str, Any] = Field(default_factory=dict)


class Manifest(Contract):
    """`bundle.json`."""

    format: Literal["bowerbird-bundle-2"]
    name: str = Field(min_length=1, max_length=100)
    version: str = Field(min_length=1, max_length=100)
    licence: str = Field(min_length=1, max_length=100, description="SPDX expression")
    created: int = Field(ge=0, description="Unix seconds")
    lineage: dict[str, Any]
    files: dict[FileName, FileFacts]
    parts: dict[str, PartFacts]
    configs: dict[str, dict[str, Any]] = Field(description="config of each component, for `compiler.restore`")
    precision: Precision = Field(default="fp16", description="how weights are kept; a `graph` computes in float32")
    tokenizer: TokenizerFacts | None = None
    tokenizer_2: TokenizerFacts | None = Field(default=None, description="of `text_encoder_2`, where there is one")
    lora: dict[str, list[LoraBank]] = Field(
        default_factory=dict, description="banks of each role that has a second graph `<role>_lora`"
    )
    drawing: DrawingFacts | None = None
    judging: JudgingFacts | None = None
    parity: dict[str, ParityFacts]
    half_parity: dict[str, HalfParity] = Field(default_factory=dict, description="of parts that have a `half`")
    picture_parity: PictureParity | None = None
    compiled_with: dict[str, str] = Field(description="package -> version")

    @model_validator(mode="after")
    def _every_graph_is_listed(self) -> Manifest:
        for role, part in self.parts.items():
            for graph in (part.graph, part.half):
                if graph is not None and graph not in self.files:
                    raise ValueError(f"the graph of {role}, {graph}, is not among the files")
        for role in self.lora:
            if f"{role}_lora" not in self.parts:
                raise ValueError(f"{role} has LoRA banks but no part {role}_lora")
        return self


Stamp = tuple[int, int, int] | None
"""Inode, size and nanoseconds of the last change of a folder's manifest; None where there is none."""


class Bundle:
    """An opened bundle: every file was found, complete and unaltered."""

    def __init__(self, folder: Path, manifest: Manifest, digest: str, stamp: Stamp = None) -> None:
        """With a `stamp`, files are given only as long as the manifest in the folder has it."""
        self.folder = folder
        self.manifest = manifest
        self.digest = digest
        self._stamp = stamp

    @classmethod
    def open(cls, folder: Path) -> Bundle:
        """Reads and checks everything; raises BundleInvalid naming the file, what was expected and what is there."""
        for _ in range(ATTEMPTS):
            stamp = _stamp(folder)
            try:
                bundle = cls._open(folder, stamp)
            except BundleInvalid:
                if _stamp(folder) == stamp:
                    raise
            else:
                if _stamp(folder) == stamp:
                    return bundle
        raise BundleInvalid(f"{folder} was replaced {ATTEMPTS} times while it was read.")

    @classmethod
    def _open(cls, folder: Path, stamp: Stamp) -> Bundle:
        manifest, digest = read_manifest(folder)
        for name, facts in manifest.files.items():
            _check(folder / name, facts)
        return cls(folder, manifest, digest, stamp)

    def path(self, name: str) -> Path:
        """A listed file; raises BundleInvalid when the bundle has none of this name, or is not there any more."""
        if name not in self.manifest.files:
            raise BundleInvalid(f"{self.folder} has no {name}.")
        if self._stamp is not None and _stamp(self.folder) != self._stamp:
            raise BundleInvalid(
                f"{self.folder} was replaced after {self.digest} was opened; only a new start takes it."
            )
        return self.folder / name

    def part(self, role: str) -> PartFacts:
        """The facts of a part; raises BundleInvalid when this bundle has none in this role."""
        if role not in self.manifest.parts:
            raise BundleInvalid(f"{self.folder} has no {role}; it has {', '.join(sorted(self.manifest.parts))}.")
        return self.manifest.parts[role]

    def graph(self, role: str, *, half: bool = False) -> Path:
        """The graph of a part; with `half` the one that computes in fp16, where there is one. Raises as `part`."""
        part = self.part(role)
        return self.path((half and part.half) or part.graph)

    def part_digest(self, role: str) -> str:
        """Names what a part computes: sha256 over the digests of its graph and of the weights; a cache key."""
        files = self.manifest.files
        names = [self.part(role).graph, *([WEIGHTS] if WEIGHTS in files else [])]
        return hashlib.sha256("".join(files[name].sha256 for name in names).encode()).hexdigest()

    @cached_property
    def drawing(self) -> DrawingFacts:
        """What it can draw; raises BundleInvalid when it is not a bundle for drawing."""
        if self.manifest.drawing is None:
            raise BundleInvalid(f"{self.folder} cannot draw: its bundle.json has no section 'drawing'.")
        return self.manifest.drawing

    @cached_property
    def tokenizer(self) -> TokenizerFacts:
        """How its text encoder wants token ids; raises BundleInvalid when it reads no text."""
        if self.manifest.tokenizer is None:
            raise BundleInvalid(f"{self.folder} reads no text: its bundle.json has no section 'tokenizer'.")
        return self.manifest.tokenizer

    @cached_property
    def tokenizers(self) -> list[tuple[Path, TokenizerFacts]]:
        """File and facts of each text encoder's tokenizer; raises BundleInvalid when it reads no text."""
        found = [(self.path(TOKENIZER), self.tokenizer)]
        if self.manifest.tokenizer_2 is not None:
            found.append((self.path(TOKENIZER_2), self.manifest.tokenizer_2))
        return found


def is_denoiser(role: str) -> bool:
    """True for the parts that run in batches; the others run for one picture."""
    return role in ("denoiser", "denoiser_lora", MOTION)


@contextmanager
def unreplaced(folder: Path) -> Iterator[None]:
    """Around reading several files of a bundle; raises BundleInvalid at the end when it was replaced meanwhile."""
    before = _stamp(folder)
    yield
    if _stamp(folder) != before:
        raise BundleInvalid(f"{folder} was replaced while it was read.")


def _stamp(folder: Path) -> Stamp:
    try:
        facts = (folder / MANIFEST).stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def digest_of(path: Path) -> str:
    """`sha256:…` of a file's bytes."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """What a folder says it holds, and the bundle's digest; raises BundleInvalid. Whether it holds it is not asked."""
    raw = _manifest_bytes(folder)
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(step) for step in first["loc"]) or MANIFEST
        raise BundleInvalid(f"{folder / MANIFEST} is not a bundle of format 2: {where}: {first['msg']}.") from error
    return manifest, f"sha256:{hashlib.sha256(raw).hexdigest()}"


def _manifest_bytes(folder: Path) -> bytes:
    path = folder / MANIFEST
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise BundleInvalid(f"{path} is larger than the {MAX_MANIFEST_BYTES} bytes that a manifest may have.")
        return path.read_bytes()
    except OSError as error:
        raise BundleInvalid(f"{folder} is not a bundle: {MANIFEST} cannot be read ({error.strerror}).") from error


def _check(path: Path, facts: FileFacts) -> None:
    """Compares size and digest; the size too because it tells a truncated file from an altered one."""
    try:
        size = path.stat().st_size
        actual = digest_of(path)
    except OSError as error:
        raise BundleInvalid(f"{path} cannot be read ({error.strerror}); expected {facts.sha256}.") from error
    if size != facts.bytes or actual != facts.sha256:
        raise BundleInvalid(
            f"{path} is not the file this bundle was written with: expected {facts.sha256} ({facts.bytes} bytes), "
            f"found {actual} ({size} bytes)."
        )
