"""Which backups stay: the newest ones, and the pictures that they name."""

from __future__ import annotations

from bowerbird.gateway.backups.format import BACKUPS, PICTURES, manifest_key, unpacked
from bowerbird.gateway.backups.restoring import backups_in, manifest_in
from bowerbird.gateway.pictures import PictureStore


async def forget_old(target: PictureStore, keep: int) -> list[str]:
    """Deletes all but the newest `keep` backups, and what a crash left of others; names of those that were complete.

    A manifest goes first: half a backup is none. What is being written now has no manifest yet, and is newer than those
    that have.
    """
    names = await backups_in(target)
    old, kept = names[:-keep], names[-keep:]
    if not kept:
        return []
    await target.delete([manifest_key(name) for name in old])
    files = [key async for key in target.keys(BACKUPS)]
    of_nobody = [key for key in files if (name := key.split("/")[1]) not in kept and name < kept[-1]]
    await target.delete(of_nobody)
    if old:
        named = {key for name in kept for key in await _pictures_of(target, name)}
        await target.delete([key async for key in target.keys(PICTURES) if key.removeprefix(PICTURES) not in named])
    return old


async def _pictures_of(target: PictureStore, name: str) -> list[str]:
    parts = (await manifest_in(target, name)).pictures.parts
    return [key for part in parts for (key,) in unpacked(part, await target.get(part.key))]
