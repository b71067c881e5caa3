"""From a request to frames: what is refused before computing, what is drawn, and what is stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bowerbird.contracts import DrawRequest, Size
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.bundle import SAMPLERS, Bundle, digest_of
from bowerbird.engine.drawing import Engine, Frame, Step, Summary
from bowerbird.engine.metrics import STEPS
from bowerbird.engine.opening import open_engine
from bowerbird.errors import BowerbirdError, BundleInvalid, FieldUnknown, PromptTooLong, RequestInvalid, SizeUnsupported

Make = Callable[..., DrawRequest]


def frames(engine: Engine, request: DrawRequest) -> list[Frame]:
    return [event for event in engine.draw(engine.order(request)) if isinstance(event, Frame)]


@pytest.mark.parametrize(
    ("different", "refusal", "fact"),
    [
        ({"size": Size(width=24, height=16)}, SizeUnsupported, r"^24x16 is not .*; it draws 16x16\.$"),
        ({"steps": 9}, RequestInvalid, r"^steps is 9; this model takes 1-8\.$"),
        ({"prompt": "red " * 7}, PromptTooLong, "^prompt has 7 tokens"),
        ({"negative_prompt": "red " * 8}, PromptTooLong, "^negative_prompt has 8 tokens"),
        ({"negative_prompt": "red", "guidance_scale": 1}, FieldUnknown, "^negative_prompt has no effect"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_anything_is_computed(
    engine: Engine, request_of: Make, different: dict[str, object], refusal: type[BowerbirdError], fact: str
) -> None:
    with pytest.raises(refusal, match=fact) as refused:
        engine.order(request_of(**different))
    assert refused.value.param in different
    assert engine.conditioner.encoded == 0


def test_every_frame_comes_after_its_steps_and_a_summary_ends_it(engine: Engine, request_of: Make) -> None:
    events = list(engine.draw(engine.order(request_of(count=2, steps=3))))
    assert [type(event) for event in events] == [Step, Step, Step, Frame] * 2 + [Summary]
    assert [(each.step, each.finished) for each in events if isinstance(each, Step)] == [
        (1, 0), (2, 0), (3, 0), (1, 1), (2, 1), (3, 1)
    ]  # fmt: skip
    summary = events[-1]
    assert isinstance(summary, Summary)
    assert summary.steps_computed == 6
    assert set(summary.seconds) == {"queue", "encode_text", "denoise", "decode"}


def test_frames_are_rgb_bytes_of_the_size_that_was_asked_for(engine: Engine, request_of: Make) -> None:
    (frame,) = frames(engine, request_of())
    assert frame.pixels.shape == (16, 16, 3)
    assert frame.pixels.dtype == np.uint8
    assert frame.pixels.std() > 10


@pytest.mark.parametrize("rows", [2, 4, 10])
def test_frame_k_can_be_drawn_again_alone_whatever_the_batch(engine: Engine, request_of: Make, rows: int) -> None:
    engine.rows_per_batch = rows
    together = frames(engine, request_of(count=5, seed=2**63 - 3))
    assert [frame.seed for frame in together] == [2**63 - 3, 2**63 - 2, 2**63 - 1, 0, 1]
    for frame in together:
        (alone,) = frames(engine, request_of(seed=frame.seed))
        assert np.abs(frame.pixels.astype(int) - alone.pixels).max() <= 1


def test_the_prompt_the_negative_prompt_and_the_seed_each_change_the_picture(engine: Engine, request_of: Make) -> None:
    usual, other, not_blue, later = (
        frames(engine, request_of(**different))[0].pixels
        for different in ({}, {"prompt": "a blue branch"}, {"negative_prompt": "blue"}, {"seed": 8})
    )
    assert not np.array_equal(usual, other)
    assert not np.array_equal(usual, not_blue)
    assert not np.array_equal(usual, later)


def test_a_drawing_that_is_closed_computes_no_further_step(engine: Engine, request_of: Make) -> None:
    before = STEPS._value.get()
    drawing = engine.draw(engine.order(request_of(steps=8)))
    next(drawing)
    next(drawing)
    drawing.close()
    assert STEPS._value.get() - before == 2


def test_each_step_leaves_a_span_inside_of_its_drawing(
    engine: Engine, request_of: Make, spans: InMemorySpanExporter
) -> None:
    frames(engine, request_of(steps=2, count=2))
    ended = spans.get_finished_spans()
    assert [span.name for span in ended] == [
        "encode_text", "denoise_step", "denoise_step", "decode", "denoise_step", "denoise_step", "denoise", "decode"
    ]  # fmt: skip
    first, second, denoise = ended[1], ended[2], ended[6]
    assert [dict(each.attributes or {}) for each in (first, second)] == [
        {"bowerbird.step": 1, "bowerbird.batch_rows": 2, "bowerbird.share": 1.0},
        {"bowerbird.step": 2, "bowerbird.batch_rows": 2, "bowerbird.share": 1.0},
    ]
    assert {each.parent.span_id for each in (first, second) if each.parent} == {denoise.context.span_id}


def test_an_opened_engine_is_warm_and_told_how_long_it_took(
    bundle: Bundle, caplog: pytest.LogCaptureFixture, request_of: Make
) -> None:
    logger = logging.getLogger("bowerbird.engine.opening")
    logger.addHandler(caplog.handler)  # a set-up process keeps its log lines from the root logger that caplog reads
    with caplog.at_level("INFO", logger=logger.name):
        engine = open_engine(bundle.folder, CpuBackend(threads=1))
    logger.removeHandler(caplog.handler)
    assert engine.conditioner.encoded > 0
    assert "opened tiny 1 on cpu" in caplog.text
    assert set(vars(caplog.records[0])["seconds"]) == {"verify", "load", "warm_up"}
    assert len(frames(engine, request_of())) == 1


def test_an_altered_bundle_is_not_opened(copied: Path) -> None:
    with (copied / "denoiser.onnx").open("ab") as file:
        file.write(b"!")
    with pytest.raises(BundleInvalid, match=r"denoiser\.onnx"):
        open_engine(copied, CpuBackend(threads=1))


def test_a_bundle_without_a_table_for_each_step_count_is_refused(bundle: Bundle, copied: Path) -> None:
    (copied / SAMPLERS).write_text("{}")
    assert digest_of(copied / SAMPLERS) != bundle.manifest.files[SAMPLERS].sha256
    with pytest.raises(BundleInvalid, match="does not hold a table for each of 1-8 steps"):
        Engine(Bundle(copied, bundle.manifest, bundle.digest), CpuBackend(threads=1))
