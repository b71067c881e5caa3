"""Frames that begin with a picture: how much of it stays, and that the same seed gives the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.contracts import DrawRequest
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.bundle import Bundle
from bowerbird.engine.drawing import Engine
from bowerbird.engine.order import Frame, Step, Summary
from bowerbird.errors import FieldUnknown, RequestInvalid
from bowerbird.frames import Frames

from .tiny_bundle import Tiny, write_tiny_bundle

Make = Callable[..., DrawRequest]


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("bundles") / "editor"
    bundle = write_tiny_bundle(folder, Tiny(encoder=True, more_sides=(24,)))
    return Engine(bundle, CpuBackend(threads=1))


def picture(seed: int = 0, side: int = 16) -> Frames:
    return np.random.default_rng(seed).integers(0, 256, (1, side, side, 3), dtype=np.uint8)


def white_where(mask: np.ndarray) -> Frames:
    return np.repeat(np.where(mask, 255, 0).astype(np.uint8)[None, :, :, None], 3, axis=3)


def drawn(engine: Engine, request: DrawRequest, *pictures: Frames) -> list[Frames]:
    events = engine.draw(engine.order(request, pictures))
    return [event.pixels for event in events if isinstance(event, Frame)]


def test_as_many_steps_are_made_as_the_edit_is_strong(editor: Engine, request_of: Make) -> None:
    request = request_of(steps=8, beginning={"strength": 0.5})
    events = list(editor.draw(editor.order(request, [picture()])))
    assert [(each.step, each.steps) for each in events if isinstance(each, Step)] == [(k, 4) for k in range(1, 5)]
    assert isinstance(events[-1], Summary)
    assert "encode_picture" in events[-1].seconds


def test_the_same_seed_and_picture_give_the_same_frame_and_others_another(editor: Engine, request_of: Make) -> None:
    request = request_of(steps=4, beginning={"strength": 0.5})
    [once], [again] = drawn(editor, request, picture()), drawn(editor, request, picture())
    [other_picture] = drawn(editor, request, picture(1))
    [other_seed] = drawn(editor, request_of(steps=4, seed=8, beginning={"strength": 0.5}), picture())
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other_picture)
    assert not np.array_equal(once, other_seed)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), share=st.floats(0, 1), strength=st.floats(0.25, 1), count=st.integers(1, 2))
def test_what_is_outside_of_the_mask_stays_to_the_pixel(
    editor: Engine, seed: int, share: float, strength: float, count: int
) -> None:
    mask = np.random.default_rng(seed).random((16, 16)) < share
    request = DrawRequest.model_validate(
        {
            "prompt": "a small red bird",
            "size": {"width": 16, "height": 16},
            "steps": 4,
            "guidance_scale": 2,
            "seed": seed,
            "count": count,
            "beginning": {"strength": strength, "masked": True},
        }
    )
    frames = drawn(editor, request, picture(), white_where(mask))
    assert len(frames) == count
    for frame in frames:
        assert np.array_equal(frame[~mask], picture()[0][~mask])


def test_a_mask_of_everything_is_an_edit_without_one(editor: Engine, request_of: Make) -> None:
    [masked] = drawn(
        editor,
        request_of(beginning={"strength": 1, "masked": True}),
        picture(),
        white_where(np.ones((16, 16), np.bool_)),
    )
    [unmasked] = drawn(editor, request_of(beginning={"strength": 1}), picture())
    assert np.array_equal(masked, unmasked)


@pytest.mark.parametrize(
    ("beginning", "pictures", "param"),
    [
        ({"strength": 0.5}, [], "beginning"),
        ({"strength": 0.5}, [picture(), picture()], "beginning"),
        ({"strength": 0.5, "masked": True}, [picture()], "beginning"),
        ({"strength": 0.5}, [picture(side=24)], "beginning"),
        ({"strength": 0.3}, [picture()], "strength"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    editor: Engine, request_of: Make, beginning: object, pictures: list[Frames], param: str
) -> None:
    with pytest.raises(RequestInvalid) as refused:
        editor.order(request_of(steps=3, beginning=beginning), pictures)
    assert refused.value.param == param


def test_a_bundle_without_an_encoder_begins_with_nothing(bundle: Bundle, request_of: Make) -> None:
    engine = Engine(bundle, CpuBackend(threads=1))
    with pytest.raises(FieldUnknown):
        engine.order(request_of(beginning={"strength": 0.5}), [picture()])
