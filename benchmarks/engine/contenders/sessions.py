"""Drawing with a bundle's ONNX graphs in the plainest way: what the peers' services and the reference loop run.

NumPy, ONNX Runtime and tokenizers only; nothing of ours but the files. The same graphs and the same sampler tables, so
the same pictures; ONNX Runtime's default optimisations; prompts cached as ours are. Text that exceeds the encoder's
length is cut, as diffusers does. A request is JSON:

    {"prompt", "steps", "width", "height", "guidance_scale", "seed", "lora": null | "<id>"}
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

Array = np.ndarray[Any, Any]


class Sessions:
    """One bundle, loaded; `loras` is a folder that `lora_feeds.write_lora_feeds` wrote, or None."""

    def __init__(self, bundle: Path, threads: int, loras: Path | None = None) -> None:
        self.manifest = json.loads((bundle / "bundle.json").read_text())
        self.tables = json.loads((bundle / "samplers.json").read_text())
        self._tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Documented for machines where several processes share the cores; spinning loses on both sides of a contest.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        roles = ["text_encoder", "denoiser", "decoder", *(["denoiser_lora"] if loras else [])]
        self._sessions = {role: self._load(bundle, role, options) for role in roles}
        self._lora_feeds = _read_lora_feeds(loras) if loras else {}
        self.states = lru_cache(256)(self._states)

    def draw(self, request: dict[str, Any]) -> Array:
        """uint8 [height, width, 3]."""
        return self.draw_together([request])[0]

    def draw_together(self, requests: list[dict[str, Any]]) -> list[Array]:
        """Requests of one size and one LoRA in one batch; a row leaves it when it has made its own steps."""
        pictures: dict[int, Array] = {}
        running = {index: self._start(request) for index, request in enumerate(requests)}
        while running:
            self._step(list(running.values()))
            for index in [index for index, each in running.items() if each["call"] == len(each["table"]["timesteps"])]:
                pictures[index] = self._decode(running.pop(index)["state"][0])
        return [pictures[index] for index in range(len(requests))]

    def _load(self, bundle: Path, role: str, options: ort.SessionOptions) -> ort.InferenceSession:
        graph = bundle / self.manifest["parts"][role]["graph"]
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def _start(self, request: dict[str, Any]) -> dict[str, Any]:
        table = self.tables[str(request["steps"])]
        latents = self.manifest["drawing"]["latents"]
        shape = (latents["channels"], *(request[side] // latents["downscale"] for side in ("height", "width")))
        noise = _noise(request["seed"], 0, shape)
        prompts = ["", request["prompt"]] if request["guidance_scale"] > 1 else [request["prompt"]]
        state = np.multiply.outer(np.asarray(table["initial"], np.float32), noise)
        states = np.stack([self.states(prompt) for prompt in prompts])
        return {"request": request, "table": table, "state": state, "states": states, "call": 0}

    def _step(self, running: list[dict[str, Any]]) -> None:
        rows = [len(each["states"]) for each in running]
        samples = [each["state"][0] * np.float32(each["table"]["input_scale"][each["call"]]) for each in running]
        timesteps = [each["table"]["timesteps"][each["call"]] for each in running]
        feeds = {
            "sample": np.repeat(np.stack(samples), rows, 0),
            "timestep": np.repeat(np.asarray(timesteps, np.float32), rows),
            "states": np.concatenate([each["states"] for each in running]),
        }
        lora = running[0]["request"]["lora"]
        role = "denoiser_lora" if lora else "denoiser"
        if lora:
            feeds |= {
                name: np.repeat(value, sum(rows), 0) if name in {"lora_slots", "lora_weights"} else value
                for name, value in self._lora_feeds[lora].items()
            }
        (output,) = self._sessions[role].run(["output"], feeds)
        for each, answer in zip(running, np.split(output, np.cumsum(rows)[:-1]), strict=True):
            self._advance(each, answer)

    def _advance(self, each: dict[str, Any], answer: Array) -> None:
        table, call, state = each["table"], each["call"], each["state"]
        guided = answer[0]
        if len(answer) == 2:
            guided = answer[0] + np.float32(each["request"]["guidance_scale"]) * (answer[1] - answer[0])
        following = np.tensordot(np.asarray(table["state"][call], np.float32), state, 1)
        following += np.multiply.outer(np.asarray(table["output"][call], np.float32), guided)
        if any(table["noise"][call]):
            fresh = _noise(each["request"]["seed"], call + 1, guided.shape)
            following += np.multiply.outer(np.asarray(table["noise"][call], np.float32), fresh)
        each["state"], each["call"] = following, call + 1

    def _decode(self, latents: Array) -> Array:
        (pictures,) = self._sessions["decoder"].run(["pictures"], {"latents": latents[None]})
        pixels = np.clip(pictures[0] * 0.5 + 0.5, 0.0, 1.0) * 255.0
        return np.ascontiguousarray(np.rint(pixels).astype(np.uint8).transpose(1, 2, 0))

    def _states(self, prompt: str) -> Array:
        facts = self.manifest["tokenizer"]
        ids = self._tokenizer.encode(prompt, add_special_tokens=False).ids[: facts["length"] - 2]
        padded = [facts["begin_id"], *ids, facts["end_id"]]
        padded += [facts["padding_id"]] * (facts["length"] - len(padded))
        (states,) = self._sessions["text_encoder"].run(["states"], {"token_ids": np.array([padded], np.int64)})
        row: Array = states[0]
        return row


def _noise(seed: int, call: int, shape: tuple[int, ...]) -> Array:
    key = np.array([seed, call], np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).standard_normal(shape, np.float32)


def _read_lora_feeds(folder: Path) -> dict[str, dict[str, Array]]:
    """By id: everything that `denoiser_lora` takes beside the denoiser's own inputs; the banks are the same arrays."""
    banks = dict(np.load(folder / "banks.npz"))
    rows = json.loads((folder / "rows.json").read_text())
    return {
        name: {
            "lora_slots": np.array([row["slots"]], np.int64),
            "lora_weights": np.array([row["weights"]], np.float32),
            **banks,
        }
        for name, row in rows.items()
    }
