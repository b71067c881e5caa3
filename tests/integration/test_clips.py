"""The clips of the model that comes along, through the real chain: what the README promises of them."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from ..embedded_stack import RunningStack

PROMPT = "a cardinal taking off from a branch, winter"

pytestmark = pytest.mark.timeout(300)


def drawn(stack: RunningStack, output: Path, *arguments: str) -> dict[str, object]:
    """What `bowerbird draw --json` says of one clip."""
    bowerbird = Path(sys.executable).with_name("bowerbird")
    command = [str(bowerbird), "draw", PROMPT, "--seconds", "3", "-o", str(output), "--url", stack.url, "--json"]
    run = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    [clip] = json.loads(run.stdout)["clips"]
    return dict(clip)


def frames_of(path: Path) -> NDArray[np.int16]:
    """The frames of an animated WebP, int16 [frames, height, width, 3]."""
    with Image.open(path) as file:
        return np.stack([np.asarray(frame.convert("RGB"), np.int16) for frame in ImageSequence.Iterator(file)])


def test_the_command_of_the_readme_gives_a_clip(stack: RunningStack, tmp_path: Path) -> None:
    stack.wait_until_ready()
    clip = drawn(stack, tmp_path / "cardinal.mp4", "--steps", "2")
    assert clip["frames"] == 72
    assert (tmp_path / "cardinal.mp4").read_bytes()[4:8] == b"ftyp"


def test_a_cardinal_that_takes_off_is_red_and_moves_and_its_background_does_not(
    stack: RunningStack, tmp_path: Path
) -> None:
    stack.wait_until_ready()
    drawn(stack, tmp_path / "cardinal.webp", "--seed", "7", "--fps", "8", "--steps", "10")
    frames = frames_of(tmp_path / "cardinal.webp")
    assert frames.shape == (24, 256, 256, 3)
    red = (frames[..., 0] > 150) & (frames[..., 1:].max(-1) < 90)
    assert (red.mean((1, 2)) > 0.01).all(), "the bird is there all the time"
    heights = [float(np.nonzero(frame)[0].mean()) for frame in red]
    assert max(heights) - min(heights) > 10, "and is not where it was"
    changes = np.stack([np.abs(one - other).mean(-1) for one, other in pairwise(frames)])
    still, moving = np.quantile(changes.mean(0), (0.5, 0.98))
    assert still < 4
    assert moving > 8
