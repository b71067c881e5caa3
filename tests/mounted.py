"""A Secret as the kubelet mounts it: files are links through `..data`, which is replaced as a whole."""

from __future__ import annotations

import os
from pathlib import Path


class MountedSecret:
    """A folder whose files change together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._version = 0
        folder.mkdir()

    def write(self, **files: str) -> None:
        """These, and no others, from now on."""
        self._version += 1
        behind = self.folder / f"..{self._version}"
        behind.mkdir()
        for name, text in files.items():
            (behind / name).write_text(text)
        link = self.folder / "..new"
        link.symlink_to(behind.name)
        os.replace(link, self.folder / "..data")
        for name in files:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(Path("..data") / name)
        for each in self.folder.iterdir():
            if not each.name.startswith("..") and each.name not in files:
                each.unlink()
