"""Where finished pictures lie: a folder embedded, an S3 bucket in a cluster, behind one small interface.

A key is named by who writes it and is written once (`records.retention` says why): nothing is ever overwritten. A `put`
that returned survives a crash and a power cut; one that did not leaves nothing that `keys` shows. What cannot be asked
now is `RecordsUnavailable`; what should be there and is not is `PictureLost`.
"""

from __future__ import annotations

from bowerbird.gateway.pictures.opening import open_pictures
from bowerbird.gateway.pictures.store import PictureStore

__all__ = ["PictureStore", "open_pictures"]
