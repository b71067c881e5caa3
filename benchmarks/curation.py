"""`python -m benchmarks.curation`: what judging a frame and publishing a picture cost, on one thread.

Drawn birds of 256 x 256 stand for generated ones. Times are of the processor, so that they mean the same on a busy
machine; the wall clock stands beside the whole. `--calibrate` prints instead how far each measure moves under changes
that nobody sees (one level of noise, JPEG quality 95), and how far two such pictures lie apart in a ranking: the
figures behind `noise` in `curation/measures.py` and `TIE_MARGIN` in `curation/ranking.py`.
"""

from __future__ import annotations

import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from benchmarks.results import record, show
from bowerbird.contracts import JudgeRequest, Origin, OutputFormat, PolicyReference, PublishRequest
from bowerbird.curation.certificates import load_identity
from bowerbird.curation.credentials import Credentials
from bowerbird.curation.duplicates import fingerprint
from bowerbird.curation.encoder import open_judge
from bowerbird.curation.encoding import MEDIA_TYPES, XMP_PACKET, encode
from bowerbird.curation.judging import Judging
from bowerbird.curation.manifest import manifest_of
from bowerbird.curation.measures import MEASURES, Measure
from bowerbird.curation.prompt_match import PromptMatch
from bowerbird.curation.publishing import Publisher, open_credentials
from bowerbird.curation.ranking import TIE_MARGIN, Candidate, Standing, rank
from bowerbird.curation.species_check import SpeciesJudge, read_species
from bowerbird.curation.view import View
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.errors import BundleInvalid
from bowerbird.settings import Settings
from bowerbird.training.captions import caption
from bowerbird.training.drawing import draw
from bowerbird.training.scene import Scene, sample_scene

Pixels = NDArray[np.uint8]

PICTURES = 24
GOAL_PUBLISH_MS = 15.0
DIGEST = "sha256:" + "0" * 64


def main(calibrate: Annotated[bool, typer.Option(help="print what noise and tie margin rest on")] = False) -> None:
    """Measures, prints a table, and writes `results/curation.json`."""
    rng = np.random.default_rng(0)
    scenes = [sample_scene(rng) for _ in range(PICTURES)]
    pictures = [draw(scene) for scene in scenes]
    judge = _judge()
    if calibrate:
        _calibrate(scenes, pictures, judge)
        return
    judging, publishing = _judging(scenes, pictures, judge), _publishing(pictures)
    rows = [[name, *each] for name, each in judging.items()]
    show("Judging one frame of 256 x 256", ["measure", "CPU ms", "95 %"], rows)
    rows = [[name, *figures.values()] for name, figures in publishing.items()]
    title = f"Publishing one picture of 256 x 256, CPU ms (goal: {GOAL_PUBLISH_MS:.0f})"
    show(title, ["format", *publishing["png"]], rows)
    figures = {"judge_ms": judging, "publish_ms": publishing, "pictures": PICTURES, "judge": judge and judge.name}
    record("curation", figures)


def _judge() -> PromptMatch | None:
    folder = Settings().judge
    try:
        return open_judge(folder, CpuBackend(threads=1))
    except BundleInvalid as error:
        print(f"prompt_match is not measured: {error.message}")
        return None


def _times_ms(
    work: Callable[[Any], object], inputs: Sequence[Any], clock: Callable[[], float] = time.thread_time
) -> list[float]:
    """Milliseconds of each call, after one that does not count."""
    work(inputs[0])
    times = []
    for each in inputs:
        start = clock()
        work(each)
        times.append((clock() - start) * 1000)
    return times


def _summary(times: Sequence[float]) -> tuple[float, float]:
    return round(statistics.median(times), 2), round(float(np.percentile(times, 95)), 2)


def _judging(scenes: Sequence[Scene], pictures: Sequence[Pixels], judge: PromptMatch | None) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    figures = {measure.name: _summary(_times_ms(_of(measure), pictures)) for measure in MEASURES}
    figures["perceptual hash"] = _summary(_times_ms(lambda p: fingerprint(View(p)), pictures))
    if judge is not None:
        prompts = [caption(scene, rng) for scene in scenes]
        match = judge.measure(prompts[0])
        figures["prompt_match"] = _summary(_times_ms(lambda p: match.of(View(p)), pictures))
        figures["its text, once a request"] = _summary(_times_ms(judge.measure, prompts))
        species = SpeciesJudge(judge, read_species())
        asked = "Turdus migratorius"
        figures["species check"] = _summary(_times_ms(lambda p: species.check(View(p), asked), pictures))
        wanted = JudgeRequest(prompt=prompts[0], images=1, candidates=1, species=asked)
        judging = Judging(judge, wanted, species)
        figures["a whole frame"] = _summary(_times_ms(lambda p: judging.look_at(0, p[None]), pictures))
    return figures


def _of(measure: Measure) -> Callable[[Pixels], float]:
    return lambda picture: measure.of(View(picture))


def _publishing(pictures: Sequence[Pixels]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as home:
        credentials = open_credentials(load_identity(Settings(home=Path(home), certificate=None, certificate_key=None)))
        return {each.value: _one_format(credentials, pictures, each) for each in OutputFormat}


def _one_format(credentials: Credentials, pictures: Sequence[Pixels], output_format: OutputFormat) -> dict[str, float]:
    """Median milliseconds by phase; the whole is `Publisher.publish`, by the processor's and by the wall's clock."""
    wanted, media_type = _request(output_format), MEDIA_TYPES[output_format]
    files = [encode(picture, output_format, 100) for picture in pictures]
    publisher = Publisher(credentials)

    def sign(file: bytes) -> bytes:
        return credentials.sign(file, media_type, manifest_of(wanted, 0, media_type)).content

    signed = [sign(file) for file in files]
    times = {
        "encode": _times_ms(lambda p: encode(p, output_format, 100), pictures),
        "of which XMP": _times_ms(lambda _: _xmp_alone(output_format), pictures),
        "sign": _times_ms(sign, files),
        "verify": _times_ms(lambda file: credentials.read(file, media_type), signed),
        "whole": _times_ms(lambda p: publisher.publish(0, p, wanted), pictures),
        "wall": _times_ms(lambda p: publisher.publish(0, p, wanted), pictures, time.perf_counter),
    }
    sizes = statistics.median(len(each) for each in signed)
    return {phase: _summary(each)[0] for phase, each in times.items()} | {"kB": round(sizes / 1000, 1)}


def _xmp_alone(output_format: OutputFormat) -> None:
    """What XMP adds: the same packet around a picture of one pixel."""
    options: dict[str, Any] = {"xmp": XMP_PACKET.encode()}
    if output_format is OutputFormat.PNG:
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt("XML:com.adobe.xmp", XMP_PACKET)
        options = {"pnginfo": chunks}
    Image.new("RGB", (1, 1)).save(io.BytesIO(), output_format.value.upper(), **options)


def _request(output_format: OutputFormat) -> PublishRequest:
    origin = Origin(
        request_id="req_0123456789abcdef",
        trace_id="0" * 32,
        model="fledgling",
        model_digest=DIGEST,
        seed_digests=[DIGEST],
        policy=PolicyReference(id="default", version="1", digest=DIGEST),
        services={name: "0.1.0" for name in ("gateway", "safety", "text-to-image", "curation")},
    )
    return PublishRequest(count=1, format=output_format, origin=origin)


def _calibrate(scenes: Sequence[Scene], pictures: Sequence[Pixels], judge: PromptMatch | None) -> None:
    rng = np.random.default_rng(2)
    moved: dict[str, list[float]] = {}
    margins: list[float] = []
    for scene, picture in zip(scenes, pictures, strict=True):
        measures = [*([judge.measure(caption(scene, rng))] if judge else []), *MEASURES]
        before = _values(measures, picture)
        for variant in _invisible_changes(picture, rng):
            after = _values(measures, variant)
            for measure, one, other in zip(measures, before, after, strict=True):
                moved.setdefault(measure.name, []).append(abs(one - other))
            pair = [Candidate(i, values, Standing.CLEAN) for i, values in enumerate((before, after))]
            margins.append(rank(0, pair, measures).margin)
    stated = {measure.name: measure.noise for measure in measures}
    rows = [[name, f"{np.percentile(each, 95):.4f}", stated.get(name, "")] for name, each in moved.items()]
    rows.append(["margin of the first two", f"{np.percentile(margins, 95):.4f}", TIE_MARGIN])
    show("Moved by what nobody sees, 95th percentile", ["measure", "measured", "stated"], rows)


def _values(measures: Sequence[Measure], picture: Pixels) -> tuple[float, ...]:
    view = View(picture)
    return tuple(measure.of(view) for measure in measures)


def _invisible_changes(picture: Pixels, rng: np.random.Generator) -> Iterator[Pixels]:
    grain = rng.integers(-1, 2, picture.shape)
    yield np.asarray((picture.astype(np.int16) + grain).clip(0, 255), np.uint8)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=95, subsampling=0)
    yield np.asarray(Image.open(file), np.uint8)


if __name__ == "__main__":
    typer.run(main)
