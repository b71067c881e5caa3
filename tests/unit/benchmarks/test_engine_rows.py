"""The rows that need no peers, small: that they work, never how fast."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.engine import company
from benchmarks.engine.__main__ import ROWS, WITHOUT_PEERS
from benchmarks.engine.contender import Contender, take_turns
from benchmarks.engine.environments import CONTENDERS, PeerMissing
from benchmarks.engine.lora_files import IDS, write_lora_feeds, write_loras
from benchmarks.engine.scale import Scale
from benchmarks.rows import measured
from bowerbird.contracts import DrawRequest, LoraUse, Size
from bowerbird.engine.backends.cpu import CpuBackend
from bowerbird.engine.bundle import Bundle
from bowerbird.engine.drawing import Engine, Frame
from bowerbird.engine.opening import open_engine


@pytest.mark.parametrize(("name", "lines"), [("C5", 2), ("C6", 1), ("C7", 2)])
def test_a_small_row_gives_its_lines(name: str, lines: int, tiny: Path) -> None:
    rows = list(measured(ROWS, name, Scale(tiny, small=True)))
    assert len(rows) == lines
    for row in rows:
        assert row.id == name
        assert row.figure is not None, row.note
        assert row.holds is None, "a small run proves nothing about a goal"


def test_what_needs_a_peer_is_not_among_the_small_rows() -> None:
    assert set(WITHOUT_PEERS) == set(ROWS) - {"C1", "C2", "C3"}


def test_company_changes_nothing(tiny: Path) -> None:
    (row,) = company.measure(Scale(tiny, small=True))
    assert row.holds
    assert "with LoRA" in row.note


def test_a_peer_that_dies_is_a_row_that_was_not_measured() -> None:
    with pytest.raises(PeerMissing, match="no-such"):
        Contender("peer", "reference_loop.py", {"bundle": "/no-such-bundle", "loras": None})


def test_turns_are_taken_in_order_and_the_first_does_not_count() -> None:
    taken: list[str] = []

    def turn(name: str) -> float:
        taken.append(name)
        return float(len(taken))

    medians = take_turns({"a": lambda: turn("a"), "b": lambda: turn("b")}, 3)
    assert taken == ["a", "b"] * 4
    assert medians == {"a": 5.0, "b": 6.0}


@pytest.mark.parametrize("name", ["bentoml", "diffusers", "litserve", "openvino"])
def test_every_peer_is_pinned(name: str) -> None:
    lines = (CONTENDERS / f"{name}.txt").read_text().splitlines()
    assert all(line.startswith(("#", "-e ")) or "==" in line for line in lines if line)


class TestTheSameWork:
    """What the peers' sessions draw is what we draw: else a comparison of speed means nothing."""

    @pytest.mark.parametrize("lora", [None, IDS[1]])
    @pytest.mark.parametrize("guidance_scale", [1.0, 2.5])
    def test_peers_draw_the_same_pictures(
        self, lora: str | None, guidance_scale: float, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.syspath_prepend(str(CONTENDERS))
        from sessions import Sessions

        loras, feeds = tmp_path / "loras", tmp_path / "feeds"
        loras.mkdir()
        feeds.mkdir()
        bundle = Bundle.open(tiny)
        assert write_loras(loras, bundle) == IDS
        write_lora_feeds(feeds, bundle, loras)
        theirs = Sessions(tiny, 1, feeds)
        asked = {"prompt": "a red bird", "width": 32, "height": 32, "guidance_scale": guidance_scale, "lora": lora}
        requests = [asked | {"steps": steps, "seed": steps} for steps in (2, 5, 3)]
        engine = open_engine(tiny, CpuBackend(threads=1), loras=loras)
        ours = [_drawn(engine, request) for request in requests]
        for pixels in (theirs.draw_together(requests), [theirs.draw(request) for request in requests]):
            for one, other in zip(ours, pixels, strict=True):
                assert one.shape == other.shape
                assert np.abs(one.astype(int) - other.astype(int)).max() <= 1


def _drawn(engine: Engine, request: dict[str, object]) -> np.ndarray:
    order = DrawRequest(
        prompt=str(request["prompt"]),
        size=Size.model_validate({"width": request["width"], "height": request["height"]}),
        steps=int(str(request["steps"])),
        guidance_scale=float(str(request["guidance_scale"])),
        seed=int(str(request["seed"])),
        count=1,
        lora=[LoraUse(id=str(request["lora"]))] if request["lora"] else [],
    )
    (frame,) = (event for event in engine.draw(engine.order(order)) if isinstance(event, Frame))
    return frame.pixels
