"""The parts that a tiny bundle has when its clips are told a picture: an image encoder, and a decoder over frames."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from bowerbird.engine.backend import Array
from bowerbird.engine.bundle import ImageConditioning, MotionFacts

from .tiny_graph import model, port, random_weights

IMAGE_SIDE = 8
"""Of what the image encoder reads."""
DECODED_TOGETHER = 3
FRAMES_PER_SECOND, MOTION_BUCKET, NOISE_STRENGTH = 7.0, 100.0, 0.25


def motion_facts(window: int, overlap: int) -> MotionFacts:
    return MotionFacts(
        window=window,
        overlap=overlap,
        max_frames=window,
        frames_per_second=FRAMES_PER_SECOND,
        decoded_together=DECODED_TOGETHER,
        image=ImageConditioning(motion_bucket=MOTION_BUCKET, noise_strength=NOISE_STRENGTH),
    )


def image_encoder(width: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["pictures", "look"], ["looked"]),
        helper.make_node("Reshape", ["looked", "as_states"], ["states"]),
    ]
    ports = [port("pictures", 1, "batch", 3, IMAGE_SIDE, IMAGE_SIDE)], [port("states", 1, "batch", 1, width)]
    look = random_weights(11, width, 3, IMAGE_SIDE, IMAGE_SIDE) / IMAGE_SIDE
    return model(nodes, ports, {"look": look, "as_states": np.array([-1, 1, width], np.int64)})


def resizes(*sides: int) -> dict[str, Array]:
    """Means of neighbouring pixels."""
    return {
        str(side): np.kron(np.eye(IMAGE_SIDE), np.full((1, side // IMAGE_SIDE), IMAGE_SIDE / side)).astype(np.float32)
        for side in sides
    }


def told_a_picture(answer: str, told: str) -> list[onnx.NodeProto]:
    """`told` is `answer`, of one frame, moved by the picture's latents and by the numbers."""
    return [
        helper.make_node("ReduceMean", ["time_ids", "last_axis"], [f"{answer}_mean"], keepdims=1),
        helper.make_node("Mul", [f"{answer}_mean", "per_timestep"], [f"{answer}_small"]),
        helper.make_node("Unsqueeze", [f"{answer}_small", "picture_axes"], [f"{answer}_everywhere"]),
        helper.make_node("Add", [answer, "image_latents"], [f"{answer}_shown"]),
        helper.make_node("Add", [f"{answer}_shown", f"{answer}_everywhere"], [told]),
    ]


def decoder(channels: int, latent_side: int, downscale: int) -> onnx.ModelProto:
    """Frames are brighter beside brighter ones."""
    side, frames = latent_side * downscale, DECODED_TOGETHER
    nodes = [
        helper.make_node("Reshape", ["latents", "one_by_one"], ["alone"]),
        helper.make_node("Resize", ["alone", "", "scales"], ["large"], mode="nearest"),
        helper.make_node("Conv", ["large", "colours"], ["mixed"]),
        helper.make_node("Reshape", ["mixed", "together"], ["frames"]),
        helper.make_node("ReduceMean", ["frames", "frame_axis"], ["mean"], keepdims=1),
        helper.make_node("Add", ["frames", "mean"], ["beside"]),
        helper.make_node("Tanh", ["beside"], ["pictures"]),
    ]
    ports = (
        [port("latents", 1, "batch", frames, channels, latent_side, latent_side)],
        [port("pictures", 1, "batch", frames, 3, side, side)],
    )
    weights: dict[str, Array] = {
        "one_by_one": np.array([-1, channels, latent_side, latent_side], np.int64),
        "together": np.array([-1, frames, 3, side, side], np.int64),
        "frame_axis": np.array([1], np.int64),
        "scales": np.array([1, 1, downscale, downscale], np.float32),
        "colours": random_weights(4, 3, channels, 1, 1),
    }
    return model(nodes, ports, weights)
