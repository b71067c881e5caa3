"""G1-G7: what is measured and against what; each row is a generator of table lines.

The peer is torch eager in bfloat16 with what its documentation recommends for inference: channels last, scaled dot
product attention, inference mode; it runs the very modules that the other backends capture, so nothing but the way
they are called differs. Where diffusers is installed its own UNet2DConditionModel is measured beside it. Every picture
starts with token ids in host memory and ends with uint8 pixels in host memory.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

from benchmarks.gpu import clips
from benchmarks.gpu.lora import Banks
from benchmarks.gpu.meter import Meter, sampled
from benchmarks.gpu.onnx_cuda import step_seconds
from benchmarks.gpu.painter import Model, Painter
from benchmarks.gpu.peer import diffusers_step
from benchmarks.gpu.shapes import MINIATURE, MINIATURE_MOTION, SD15_MOTION, Shape
from benchmarks.gpu.unet import UNet
from benchmarks.report import Row

BATCHES = (1, 2, 4, 8, 16, 32)
BACKENDS = {"eager": "torch, eager", "graphs": "torch, CUDA graphs", "inductor": "torch, CUDA graphs + inductor"}
RESERVE_SECONDS = 75.0
"""Left for the rows that follow: nothing long is begun when less time remains."""
LORA_RANK, LORA_SLOTS, LORA_FILES, LORA_ROWS = 16, 8, 12, 4


@dataclass
class Bench:
    """What every row shares: one model, the sizes in pixels, SDXL's steps, the backend that was fastest so far."""

    shape: Shape
    device: str
    dtype: torch.dtype
    meter: Meter
    small: int
    large: int
    steps: int = 20
    best: str = "graphs"
    compile_seconds: float = 90.0
    model: Model = field(init=False)

    def __post_init__(self) -> None:
        self.model = Model(self.shape, self.device, self.dtype)

    @property
    def may_compile(self) -> bool:
        """Whether there is time and a compiler for `inductor`."""
        return self.device == "cuda" and self.meter.seconds_left > 1.5 * self.compile_seconds + RESERVE_SECONDS

    def fresh(self) -> None:
        """Forgets model and memory, so that a row's peak is its own."""
        del self.model
        self.meter.forget()
        self.model = Model(self.shape, self.device, self.dtype)

    def drawing(
        self, painter: Painter, side: int, steps: int, rows: int = 1, guided: bool = False
    ) -> Callable[[], object]:
        """A picture, or `rows` of them at once."""
        token_ids, latents = painter.prompts(rows * (1 + guided)), painter.noise(rows, side).cpu()
        return lambda: painter.picture(token_ids, latents, steps)


def g1(bench: Bench) -> Iterator[Row]:
    """Latency of one picture of one step."""
    what = f"SDXL-Turbo-shaped {bench.small}², 1 step, tiny decoder, latency"
    eager = bench.meter.median(bench.drawing(Painter(bench.model, "eager"), bench.small, 1))
    yield Row("G1", what, BACKENDS["eager"], "", _ms(eager), None, eager, "the peer")
    fastest = float("inf")
    for backend in ("graphs", "inductor"):
        if backend == "inductor" and not bench.may_compile:
            yield Row("G1", what, BACKENDS[backend], "", note="no GPU, or no time left to compile")
            continue
        begin = time.perf_counter()
        draw = bench.drawing(Painter(bench.model, backend), bench.small, 1)
        draw()
        ready = time.perf_counter() - begin
        bench.compile_seconds = max(ready, 20.0) if backend == "inductor" else bench.compile_seconds
        seconds = bench.meter.median(draw)
        if seconds < fastest:
            fastest, bench.best = seconds, backend
        holds = seconds <= 0.025 and eager / seconds >= 2
        figure = f"{_ms(seconds)}, {eager / seconds:.2f}x"
        goal = "<= 25 ms, >= 2x eager bf16"
        yield Row("G1", what, BACKENDS[backend], goal, figure, holds, seconds, f"{ready:.0f} s to get ready")
    yield from _unet_alone(bench)


def _unet_alone(bench: Bench) -> Iterator[Row]:
    """The denoiser without the rest: where other runtimes and libraries can be compared."""
    what = f"SDXL-Turbo-shaped {bench.small}², the denoiser alone, one row"
    painter = Painter(bench.model, bench.best)
    prompt = (*painter.encode(painter.prompts(1)), painter.time_ids(1, bench.small // 8))
    latents, one = painter.noise(1, bench.small), torch.ones(1, device=bench.device)
    ours = bench.meter.median(lambda: painter.step(latents, one, one, prompt))
    yield Row("G1", what, BACKENDS[bench.best], "", _ms(ours), None, ours)
    inputs = {"sample": latents, "timestep": one, "states": prompt[0], "pooled": prompt[1], "time_ids": prompt[2]}
    for backend, measure in (("diffusers, eager", diffusers_step), ("cuda (ONNX Runtime)", step_seconds)):
        try:
            seconds = measure(bench.model, inputs, bench.meter)
        except (ImportError, RuntimeError, OSError) as error:
            yield Row("G1", what, backend, "", note=_reason(error))
        else:
            yield Row("G1", what, backend, "", _ms(seconds), None, seconds)


def g2(bench: Bench) -> Iterator[Row]:
    """Latency of one picture of four steps."""
    what = f"SDXL-Turbo-shaped {bench.small}², 4 steps, tiny decoder, latency"
    eager = bench.meter.median(bench.drawing(Painter(bench.model, "eager"), bench.small, 4), 10)
    seconds = bench.meter.median(bench.drawing(Painter(bench.model, bench.best), bench.small, 4))
    figure = f"{_ms(seconds)}, {eager / seconds:.2f}x eager"
    yield Row("G2", what, BACKENDS[bench.best], "<= 84 ms", figure, seconds <= 0.084, seconds)


def g3(bench: Bench) -> Iterator[Row]:
    """Saturated throughput against one picture after the other, by the same backend."""
    what = f"SDXL-Turbo-shaped {bench.small}², 1 step, saturated"
    painter = Painter(bench.model, "graphs")
    rates = _rates(bench, painter, bench.small, 1)
    batch = max(rates, key=lambda each: rates[each])
    backend, rate, alone = "graphs", rates[batch], rates[1]
    if bench.best == "inductor" and bench.may_compile:
        compiled = Painter(bench.model, "inductor")
        one = 1 / bench.meter.median(bench.drawing(compiled, bench.small, 1))
        many = batch / bench.meter.median(bench.drawing(compiled, bench.small, 1, batch))
        if many > rate:
            backend, rate, alone = "inductor", many, one
    figure = f"{rate:.1f} images/s in batches of {batch}, {rate / alone:.2f}x one by one ({alone:.1f}/s)"
    details = {"images_per_second_by_batch": rates}
    yield Row("G3", what, BACKENDS[backend], ">= 2.5x one by one", figure, rate / alone >= 2.5, 1 / rate, "", details)


def _rates(bench: Bench, painter: Painter, side: int, steps: int, guided: bool = False) -> dict[int, float]:
    """Images per second by batch, until a larger one gains less than 3 % or time or memory runs out."""
    rates: dict[int, float] = {}
    for batch in BATCHES:
        try:
            rates[batch] = batch / bench.meter.median(bench.drawing(painter, side, steps, batch, guided), 5)
        except torch.OutOfMemoryError:
            break
        gained = len(rates) < 2 or rates[batch] > 1.03 * max(rate for size, rate in rates.items() if size != batch)
        if not gained or bench.meter.seconds_left < RESERVE_SECONDS:
            break
    return rates


def g4(bench: Bench) -> Iterator[Row]:
    """SDXL as it is mostly used: guided, 20 steps, the autoencoder's own decoder."""
    bench.fresh()
    what = f"SDXL-shaped {bench.large}², {bench.steps} steps, guided, full decoder"
    rates = {}
    painter = Painter(bench.model, "graphs", full_decoder=True)
    for batch in (1, 2, 4):
        rates[batch] = batch / bench.meter.median(bench.drawing(painter, bench.large, bench.steps, batch, True), 3)
        if bench.meter.seconds_left < RESERVE_SECONDS:
            break
    batch = max(rates, key=lambda each: rates[each])
    backend, rate = "graphs", rates[batch]
    if bench.may_compile:
        compiled = Painter(bench.model, "inductor", full_decoder=True)
        many = batch / bench.meter.median(bench.drawing(compiled, bench.large, bench.steps, batch, True), 3)
        backend, rate = ("inductor", many) if many > rate else (backend, rate)
    eager = 1 / bench.meter.median(
        bench.drawing(Painter(bench.model, "eager", full_decoder=True), bench.large, bench.steps, 1, True), 3
    )
    figure = f"{rate:.2f} images/s in batches of {batch} (eager one by one {eager:.2f}/s)"
    details = {"images_per_second_by_batch": rates}
    yield Row("G4", what, BACKENDS[backend], ">= 1.3 images/s", figure, rate >= 1.3, 1 / rate, "", details)


def g5(bench: Bench) -> Iterator[Row]:
    """Switching LoRAs in while four different ones share a batch, and what they cost a step."""
    bench.fresh()
    banks = Banks(bench.model.part(UNet), LORA_SLOTS, LORA_RANK)
    generator, pinned = torch.Generator().manual_seed(0), bench.device == "cuda"
    files = [banks.random_lora(generator, pinned) for _ in range(LORA_FILES)]
    plain, adapted = Painter(bench.model, "graphs"), Painter(bench.model, "graphs", banks)
    slots = torch.arange(1, 1 + LORA_ROWS, device=bench.device)[:, None]
    weights = torch.ones(LORA_ROWS, 1, device=bench.device)
    for slot in range(1, 1 + LORA_ROWS):
        banks.write(slot, files[slot])
    seconds = {side: bench.meter.median(_step(bench, plain, side, LORA_ROWS)) for side in (bench.small, bench.large)}
    banks.attach(True)
    difference = _alone_against_together(bench, adapted, slots, weights)
    turns = itertools.count()

    def switch() -> None:
        turn = next(turns)
        banks.write(1 + LORA_ROWS + turn % (LORA_SLOTS - LORA_ROWS - 1), files[turn % LORA_FILES])

    switches = bench.meter.times(switch, 200)
    p99 = switches[min(len(switches) - 1, int(0.99 * len(switches)))]
    figure = f"{_ms(p99)} p99 of {len(switches)} switches, {LORA_ROWS} different LoRAs in one batch"
    note = f"rank {LORA_RANK}, {banks.bytes_per_slot / 1e6:.0f} MB each, all attention layers; from pinned memory"
    details = {"median_ms": statistics.median(switches) * 1e3}
    goal = "<= 50 ms p99, >= 4 in one batch"
    yield Row("G5", "LoRA switch", BACKENDS["graphs"], goal, figure, p99 <= 0.05, None, note, details)
    note = f"a row alone and among others differ by {difference:.1e} of the largest value"
    for side, most in ((bench.small, 0.25), (bench.large, 0.05)):
        adapted_seconds = bench.meter.median(_step(bench, adapted, side, LORA_ROWS, slots, weights))
        cost = adapted_seconds / seconds[side] - 1
        figure = f"{100 * cost:+.1f} % ({_ms(seconds[side])} -> {_ms(adapted_seconds)})"
        what = f"a step of {LORA_ROWS} rows with {LORA_ROWS} LoRAs against one without, {side}²"
        goal = f"<= {100 * most:.0f} %"
        yield Row("G5", what, BACKENDS["graphs"], goal, figure, cost <= most, adapted_seconds / LORA_ROWS, note)
    banks.attach(False)


def _step(bench: Bench, painter: Painter, side: int, rows: int, *lora: torch.Tensor) -> Callable[[], torch.Tensor]:
    prompt = (*painter.encode(painter.prompts(rows)), painter.time_ids(rows, side // 8))
    latents, sigmas = painter.noise(rows, side), torch.linspace(14, 1, rows, device=bench.device)
    return lambda: painter.step(latents, sigmas, sigmas / 2, prompt, *lora)


def _alone_against_together(bench: Bench, painter: Painter, slots: torch.Tensor, weights: torch.Tensor) -> float:
    """Largest difference of row 2's latents when it is computed alone, relative to the largest latent."""
    rows = len(slots)
    prompt = (*painter.encode(painter.prompts(rows)), painter.time_ids(rows, bench.small // 8))
    latents, sigmas = painter.noise(rows, bench.small), torch.linspace(14, 1, rows, device=bench.device)

    def stepped(which: slice) -> torch.Tensor:
        chosen = tuple(each[which].contiguous() for each in (latents, sigmas, sigmas / 2))
        answer = painter.step(*chosen, tuple(each[which].contiguous() for each in prompt), slots[which], weights[which])
        return answer.float().clone()

    together, alone = stepped(slice(0, rows))[1:2], stepped(slice(1, 2))
    return float((together - alone).abs().max() / together.abs().max())


def g6(bench: Bench) -> Iterator[Row]:
    """Peak memory and utilisation, saturated, at the largest batch that stays within the budget."""
    bench.fresh()
    what = f"SDXL-Turbo-shaped {bench.large}², 1 step, tiny decoder, saturated"
    painter = Painter(bench.model, bench.best if bench.may_compile else "graphs")
    best: tuple[int, float, float | None] | None = None
    for batch in (1, 2, 4):
        draw = bench.drawing(painter, bench.large, 1, batch)
        seconds = bench.meter.median(draw, 5)
        peak = bench.meter.peak_gigabytes()
        if best is not None and (peak or 0) > 9.0:
            break
        best = batch, seconds, peak
    assert best is not None  # noqa: S101 - the first batch always counts
    batch, seconds, peak = best
    draw = bench.drawing(painter, bench.large, 1, batch)
    with sampled() as samples:
        until = time.monotonic() + min(8.0, max(1.0, bench.meter.seconds_left - 10))
        count, begin = 0, time.perf_counter()
        while time.monotonic() < until and (bench.device == "cuda" or count < 2):
            draw()
            count += batch
        seconds = (time.perf_counter() - begin) / count
    backend = BACKENDS[painter.backend]
    figure = None if peak is None else f"{peak:.2f} GB reserved by torch, batches of {batch}"
    note = (
        "no GPU" if peak is None else f"nvidia-smi: {max(samples.used_mib, default=0) / 1024:.2f} GiB with CUDA's own"
    )
    yield Row(
        "G6", f"{what}: peak memory", backend, "<= 9.2 GB", figure, None if peak is None else peak <= 9.2, seconds, note
    )
    busy = statistics.median(samples.utilisation) if samples.utilisation else None
    figure = None if busy is None else f"{busy:.0f} %, {1 / seconds:.1f} images/s"
    note = "nvidia-smi is not here" if busy is None else f"median of {len(samples.utilisation)} samples"
    yield Row(
        "G6", f"{what}: utilisation", backend, "> 80 %", figure, None if busy is None else busy > 80, seconds, note
    )


def g7(bench: Bench) -> Iterator[Row]:
    """A clip of AnimateDiff in Stable Diffusion 1.5's shape."""
    bench.fresh()
    shape = MINIATURE_MOTION if bench.shape is MINIATURE else SD15_MOTION
    yield from clips.measure(bench.model, shape, bench.meter, bench.small, bench.steps)


ROWS = {"G1": g1, "G2": g2, "G4": g4, "G5": g5, "G6": g6, "G7": g7, "G3": g3}
"""In this order: what time may run out for comes last."""


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
