"""The folder is as it is when a LoRA is named: files come, go and are replaced while the service runs."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from bowerbird.engine.lora.files import MAX_RANK
from bowerbird.engine.lora.shelf import USUAL_RANK, LoraShelf
from bowerbird.errors import LoraInvalid, LoraUnknown

from .small_model import ALL, matrices, small_bundle, tensors, write


def age(path: Path, seconds: float = 60) -> None:
    """As if the file had lain there for a while."""
    changed = path.stat().st_mtime - seconds
    os.utime(path, (changed, changed))


def test_a_file_that_arrives_is_found(folder: Path, shelf: LoraShelf) -> None:
    with pytest.raises(LoraUnknown, match="no LoRA heron"):
        shelf.find("heron")
    write(folder, "heron", tensors(matrices(1, 2)))
    assert shelf.find("heron").id == "heron"


def test_a_file_that_goes_is_unknown(folder: Path, shelf: LoraShelf) -> None:
    path = write(folder, "heron", tensors(matrices(1, 2)))
    age(path)
    shelf.find("heron")
    path.unlink()
    with pytest.raises(LoraUnknown):
        shelf.find("heron")
    assert shelf.catalogue().loras == []


def test_a_replaced_file_is_another_lora(folder: Path, shelf: LoraShelf) -> None:
    age(write(folder, "heron", tensors(matrices(1, 2))))
    first = shelf.find("heron")
    age(write(folder, "heron", tensors(matrices(2, 2))))
    second = shelf.find("heron")
    assert first.digest != second.digest
    assert not np.array_equal(first.stacks["denoiser", "8_to_8"].down, second.stacks["denoiser", "8_to_8"].down)


def test_a_file_rewritten_in_place_within_a_tick_is_another_lora(folder: Path, shelf: LoraShelf) -> None:
    path = write(folder, "heron", tensors(matrices(1, 2)))
    look = path.stat()
    first = shelf.find("heron")
    path.write_bytes(write(folder, "other", tensors(matrices(2, 2))).read_bytes())
    os.utime(path, ns=(look.st_atime_ns, look.st_mtime_ns))
    assert shelf.find("heron").digest != first.digest


def test_a_file_that_became_good_is_found_after_its_refusal(folder: Path, shelf: LoraShelf) -> None:
    path = folder / "heron.safetensors"
    path.write_bytes(b"half a fi")
    age(path)
    for _ in range(2):
        with pytest.raises(LoraInvalid, match="truncated"):
            shelf.find("heron")
    write(folder, "heron", tensors(matrices(1, 2)))
    assert shelf.find("heron").rank == 2


def test_a_sidecar_that_arrives_is_looked_at(folder: Path, shelf: LoraShelf) -> None:
    age(write(folder, "heron", tensors(matrices(1, 2))))
    shelf.find("heron")
    (folder / "heron.sha256").write_text("0" * 64)
    with pytest.raises(LoraInvalid, match="digest"):
        shelf.find("heron")


def test_an_unchanged_file_is_read_once(folder: Path, shelf: LoraShelf) -> None:
    age(write(folder, "heron", tensors(matrices(1, 2))))
    assert shelf.find("heron") is shelf.find("heron")


def test_memory_is_bounded_and_what_was_let_go_is_read_again(folder: Path) -> None:
    for number in range(3):
        age(write(folder, f"lora-{number}", tensors(matrices(number, 8))))
    one = LoraShelf(folder, small_bundle()).find("lora-0").resident_bytes
    shelf = LoraShelf(folder, small_bundle(), keep_bytes=2 * one)
    kept = [shelf.find(f"lora-{number}") for number in range(3)]
    assert shelf.find("lora-2") is kept[2]
    assert shelf.find("lora-1") is kept[1]
    again = shelf.find("lora-0")
    assert again is not kept[0]
    assert again.digest == kept[0].digest


@pytest.mark.parametrize(
    "lora_id", ["", ".", "..", "../heron", "/etc/passwd", "a/b", "a\\b", "heron\n", "\0", ".hidden", "ä", "a" * 101]
)
def test_no_id_leads_out_of_the_folder(folder: Path, shelf: LoraShelf, lora_id: str) -> None:
    write(folder.parent, "heron", tensors(matrices(1, 2)))
    with pytest.raises(LoraUnknown) as unknown:
        shelf.find(lora_id)
    assert unknown.value.param == "lora"


def test_a_link_within_a_mount_is_followed(folder: Path, shelf: LoraShelf, tmp_path: Path) -> None:
    """Kubernetes mounts a volume's files as links, and replaces them by turning one link."""
    for version in ("one", "two"):
        (tmp_path / version).mkdir()
        age(write(tmp_path / version, "heron", tensors(matrices(len(version), 2 if version == "one" else 3))))
    (folder / "..data").symlink_to(tmp_path / "one")
    (folder / "heron.safetensors").symlink_to("..data/heron.safetensors")
    assert shelf.find("heron").rank == 2
    (folder / "..data").unlink()
    (folder / "..data").symlink_to(tmp_path / "two")
    assert shelf.find("heron").rank == 3


def test_a_folder_or_a_pipe_with_a_loras_name_is_refused(folder: Path, shelf: LoraShelf) -> None:
    (folder / "folder.safetensors").mkdir()
    os.mkfifo(folder / "pipe.safetensors")  # opening it would wait for ever
    for lora_id in ("folder", "pipe"):
        with pytest.raises(LoraInvalid, match="not a file"):
            shelf.find(lora_id)


def test_the_catalogue_lists_what_can_be_named_and_why_the_rest_cannot(folder: Path, shelf: LoraShelf) -> None:
    path = write(folder, "heron", tensors(matrices(1, 5)))
    write(folder, "resnets", {"unet.conv_in.lora_A.weight": np.ones((1, 4), np.float32)})
    write(folder, "not an id", tensors(matrices(1, 2)))
    (folder / "notes.txt").write_text("not listed")
    catalogue = shelf.catalogue()
    (heron,) = catalogue.loras
    assert (heron.id, heron.rank, heron.bytes) == ("heron", 5, path.stat().st_size)
    assert heron.digest == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert catalogue.refused.keys() == {"resnets.safetensors", "not an id.safetensors"}
    assert "unet.conv_in" in catalogue.refused["resnets.safetensors"]


def test_the_catalogue_answers_what_find_found(folder: Path) -> None:
    for number in range(3):
        age(write(folder, f"lora-{number}", tensors(matrices(number, 2, ALL[:1]))))
    shelf = LoraShelf(folder, small_bundle(), keep_bytes=0)
    assert shelf.catalogue() == shelf.catalogue()
    assert [facts for facts in shelf.catalogue().loras] == [shelf.find(f"lora-{n}").facts() for n in range(3)]


def test_without_a_folder_no_lora_is_known() -> None:
    shelf = LoraShelf(None, small_bundle())
    assert shelf.catalogue().loras == []
    with pytest.raises(LoraUnknown):
        shelf.find("heron")


def test_a_model_compiled_without_lora_says_so(folder: Path) -> None:
    write(folder, "heron", tensors(matrices(1, 2)))
    shelf = LoraShelf(folder, small_bundle(banks={}))
    with pytest.raises(LoraInvalid, match="compiled without LoRA"):
        shelf.find("heron")
    assert shelf.catalogue().refused.keys() == {"heron.safetensors"}


def test_room_is_made_for_the_largest_rank_that_a_usable_header_states(folder: Path, shelf: LoraShelf) -> None:
    assert shelf.likely_rank() == USUAL_RANK
    write(folder, "small", tensors(matrices(1, 2)))
    write(folder, "large", tensors(matrices(1, 24)))
    write(folder, "foreign", {"somewhere.else.lora_A.weight": np.zeros((60, 8), np.float32)})
    write(folder, "beyond", tensors(matrices(1, MAX_RANK + 1)))
    (folder / "broken.safetensors").write_bytes(b"half a fi")
    (folder / "empty.safetensors").touch()
    os.mkfifo(folder / "pipe.safetensors")
    assert shelf.likely_rank() == 24
