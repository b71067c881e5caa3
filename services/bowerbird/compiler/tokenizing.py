"""A checkpoint's tokenizers as `tokenizer.json` files, which the engine reads, with the facts that a bundle states."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer

from bowerbird.compiler.checkpoint import Checkpoint, CheckpointUnsupported
from bowerbird.compiler.families import Family
from bowerbird.engine.bundle import TOKENIZER, TOKENIZER_2, TokenizerFacts

FILES = {"text_encoder": TOKENIZER, "text_encoder_2": TOKENIZER_2}


def read_tokenizers(checkpoint: Checkpoint, family: Family, target: Path) -> list[TokenizerFacts]:
    """Writes the tokenizer of each text encoder into `target`; their facts, for as many ids as the encoder reads."""
    found = []
    for encoder in family.text_encoders:
        name = encoder.replace("text_encoder", "tokenizer")
        length = int(checkpoint.config(encoder)["max_position_embeddings"])
        document, facts = tokenizer_facts(checkpoint.folder / name, length)
        (target / FILES[encoder]).write_bytes(document)
        found.append(facts)
    return found


def tokenizer_facts(folder: Path, length: int) -> tuple[bytes, TokenizerFacts]:
    """`tokenizer.json` (with its padding, so that `restore` gives back a whole tokenizer) and its facts.

    A folder that has only `vocab.json` and `merges.txt` (Stable Diffusion's CLIP) is read by transformers. Raises
    CheckpointUnsupported when an empty text does not become exactly begin and end, or nothing says what pads.
    """
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER)) if (folder / TOKENIZER).exists() else _slow(folder)
    padding_id = _padding_id(tokenizer, folder)
    tokenizer.enable_padding(length=length, pad_id=padding_id, pad_token=tokenizer.id_to_token(padding_id))
    document = tokenizer.to_str(pretty=True).encode()
    tokenizer.no_padding()
    ends = tokenizer.encode("").ids
    if len(ends) != 2:
        raise CheckpointUnsupported(f"{folder} makes {len(ends)} ids of an empty text; begin and end were expected.")
    return document, TokenizerFacts(length=length, begin_id=ends[0], end_id=ends[1], padding_id=padding_id)


def _slow(folder: Path) -> Tokenizer:
    from transformers import CLIPTokenizerFast

    tokenizer: Tokenizer = CLIPTokenizerFast.from_pretrained(folder).backend_tokenizer
    return tokenizer


def _padding_id(tokenizer: Tokenizer, folder: Path) -> int:
    if tokenizer.padding is not None:
        return int(tokenizer.padding["pad_id"])
    config = folder / "tokenizer_config.json"
    token = json.loads(config.read_bytes()).get("pad_token") if config.exists() else None
    name = token["content"] if isinstance(token, dict) else token
    padding_id = tokenizer.token_to_id(name) if name else None
    if padding_id is None:
        raise CheckpointUnsupported(f"{folder} does not say which token it pads with.")
    return padding_id
