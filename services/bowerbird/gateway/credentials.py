"""Keys that change while the gateway runs: read again from the files of `BOWERBIRD_SECRETS`, without a restart.

A Secret that is mounted as files is replaced as a whole (the kubelet swaps one symbolic link), within a minute or so of
its change in the cluster. `following` looks at the files every `LOOK_SECONDS` and, when one of them is another than
before, reads the settings anew and has the rooms that hold keys take them over: keys of tenants and of administrators
(`identity.configured`) and those that seal webhooks' secrets (`webhooks.sealing`). Who the gateway is to its database
and to its buckets is looked up when they are used (`records.login`, `bucket`). All other settings stay as they were
when the process started.

What cannot be read changes nothing: the keys that are known go on, and the log names the variable. Nor is a gateway
ever opened by a file that is gone: where a credential was needed before, new settings without one are refused.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import ValidationError

from bowerbird.gateway.background import in_background
from bowerbird.gateway.identity.configured import is_closed
from bowerbird.mounted import mark_of
from bowerbird.settings import Settings, secrets_folder

LOOK_SECONDS = 5.0
"""Between two looks at the files: a kubelet takes longer than that to write them."""

TakeOver = Callable[[Settings], None]

logger = logging.getLogger(__name__)


class Credentials:
    """The files as they were when they were last read; `take_over` is called with settings that differ in them."""

    def __init__(self, folder: Path, settings: Settings, take_over: TakeOver) -> None:
        self._folder = folder
        self._was_closed = is_closed(settings)
        self._take_over = take_over
        self._read = mark_of(folder)

    def look(self) -> bool:
        """Takes over what has changed since the last look; True when something was."""
        mark = mark_of(self._folder)
        if mark == self._read:
            return False
        try:
            settings = Settings()
            if self._was_closed and not is_closed(settings):
                raise ValueError("no credential is left: the gateway would be open to everybody")
            self._take_over(settings)
        except ValidationError as error:  # not logged whole: it may quote a key
            self._refuse(", ".join(f"BOWERBIRD_{'_'.join(map(str, each['loc'])).upper()}" for each in error.errors()))
        except (ValueError, SystemExit) as error:
            self._refuse(str(error))
        else:
            self._read = mark
            logger.info("credentials were read again")
            return True
        return False

    def _refuse(self, reason: str) -> None:
        logger.warning("new credentials cannot be read; those that are known go on", extra={"reason": reason})


@asynccontextmanager
async def following(settings: Settings, take_over: TakeOver) -> AsyncIterator[None]:
    """Looks again and again until the context ends; does nothing where no folder is named."""
    folder = secrets_folder()
    if folder is None:
        yield
        return
    async with in_background(_look_again_and_again(Credentials(folder, settings, take_over))):
        yield


async def _look_again_and_again(credentials: Credentials) -> None:
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            credentials.look()
        except OSError:  # the folder is being replaced; the next look finds it whole
            logger.warning("the folder of credentials cannot be read")
