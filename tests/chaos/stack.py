"""The processes of a run: gateways and stages as `bowerbird up` starts them, database, picture store, proxies.

    client ─► gateway, gateway-2 ─► proxies ─► safety, text-to-image, curation, the other gateway
                      └─► SQLite file and folder │ PostgreSQL and S3 (or a folder where there is no S3 server)

Addresses stay for the whole run. The state folder of the first set-up is a small filesystem of its own where this
machine allows it (root, Linux), so that it can be filled.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx2
import psutil

from bowerbird.embedded.facts import PortTaken
from bowerbird.embedded.ports import require_free
from bowerbird.embedded.processes import STACK_MARK, marked, marks
from bowerbird.embedded.stack import STAGES as ALL_STAGES
from bowerbird.embedded.stack import WORKER_MODULE

from ..go_programs import S3
from ..postgresql import RunningPostgreSQL, installed_programs, running_postgresql
from ..s3 import RunningS3, running_s3
from .plan import DATABASE, GATEWAYS, STAGES, STORE, Means, Setup
from .proxy import Trouble
from .up import Layout

KEYS = ("alder-Quohnaimeu", "birch-Zeoghathael", "cedar-Wiereishoop")
"""One for each tenant."""
DISK_BYTES = 640 * 1024 * 1024
"""Prepared graphs, logs, pictures and rows take a third of it."""
READY_SECONDS = 150.0
STOP_SECONDS = 60.0
BACK_SECONDS = 120.0
"""Until every part is ready again after a fault, on a machine that computes meanwhile."""
POLL_SECONDS = 0.1
QUIET_PORTS = range(20_000, 30_000)
"""Below the range from which Linux takes the ports of connections."""

_MOUNT, _UNMOUNT = "/bin/mount", "/bin/umount"

SETTINGS = {
    "BOWERBIRD_API_KEYS": json.dumps(KEYS),
    "BOWERBIRD_REQUEST_TIMEOUT_SECONDS": "15",
    "BOWERBIRD_QUEUE_TIMEOUT_SECONDS": "20",
    "BOWERBIRD_STAGE_POLL_SECONDS": "0.5",
    "BOWERBIRD_RESULT_BYTES": str(6 * 1024 * 1024),  # some sixty pictures: most must make room for others
}


def means(setup: Setup) -> Means:
    """What can be broken here, beside what always can."""
    return Means(small_disk=setup is Setup.SQLITE and _can_mount(), s3=_has_s3(setup))


def missing(setup: Setup) -> str | None:
    """Why this set-up cannot run here, or None."""
    if setup is not Setup.POSTGRESQL:
        return None
    try:
        installed_programs()
    except FileNotFoundError as error:
        return str(error)
    return None


class Stack:
    """All processes of one run; `start` and `stop` are for `bowerbird up` and what it starts."""

    def __init__(self, setup: Setup, folder: Path) -> None:
        self.setup = setup
        self.folder = folder
        self.home = folder / "home"
        self.postgresql: RunningPostgreSQL | None = None
        self.s3: RunningS3 | None = None
        self.environment = {**SETTINGS, "BOWERBIRD_HOME": str(self.home), "TMPDIR": str(folder / "tmp")}
        self.said: list[str] = []
        """What `up` told people."""
        self.stack_ids: list[str] = []
        """Of every start."""
        self.hands = ThreadPoolExecutor(1)
        """Where faults are done and undone: a server that is started here ends with the thread that started it."""
        gateways = GATEWAYS[: setup.gateways]
        linked = (*STAGES, *(gateways if setup.gateways > 1 else ()))
        ports = _quiet_ports()
        served = {name: next(ports) for name in (*gateways, *ALL_STAGES)}
        self._layout = Layout(served, {name: next(ports) for name in linked})
        self._up: subprocess.Popen[str] | None = None
        self._listening: threading.Thread | None = None
        self._proxy: subprocess.Popen[str] | None = None

    @property
    def urls(self) -> Sequence[str]:
        """The gateways' addresses."""
        return [f"http://127.0.0.1:{self._layout.ports[name]}" for name in GATEWAYS[: self.setup.gateways]]

    def start(self) -> None:
        """Starts `bowerbird up` and waits until it says that it is ready."""
        self._up = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.up", self._layout.to_json()],
            cwd=Path(__file__).parents[2],
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._up.stdout is not None
        self._listening = threading.Thread(target=self.said.extend, args=(self._up.stderr,))
        self._listening.start()
        line = self._up.stdout.readline()
        assert line, "the stack did not start:\n" + "".join(self.said[-30:])
        self.stack_ids.append(json.loads(line)["stack_id"])

    def stop(self) -> None:
        """An orderly stop, as by SIGTERM."""
        assert self._up is not None
        self._up.send_signal(signal.SIGTERM)
        self._reap()

    def kill_everything(self) -> None:
        """SIGKILL to `up`, to its guard and to all they started, at once: what a machine that fails leaves is files."""
        assert self._up is not None
        victims = [*psutil.Process(self._up.pid).children(), psutil.Process(self._up.pid), *self.processes()]
        for process in victims:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._reap()
        while left := self.processes():
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()

    def alive(self) -> bool:
        """Whether `up` still runs."""
        return self._up is not None and self._up.poll() is None

    def processes(self, service: str | None = None) -> list[psutil.Process]:
        """The living processes of a service, or of all, of the present start."""
        return marked(marks(self.stack_ids[-1], service))

    def workers(self, service: str) -> list[psutil.Process]:
        """Those in which a `bentoml serve` really serves."""
        found = []
        for process in self.processes(service):
            with suppress(psutil.Error):
                if WORKER_MODULE in process.cmdline():
                    found.append(process)
        return found

    def left_over(self) -> list[str]:
        """What still runs of any start, or works in this home."""
        found = []
        for process in marked({}):
            with suppress(psutil.Error):
                environment = process.environ()
                if environment.get(STACK_MARK) in self.stack_ids or environment.get("BOWERBIRD_HOME") == str(self.home):
                    found.append(f"{process.pid} {' '.join(process.cmdline())}")
        return found

    def wait_until_back(self) -> None:
        """Until every gateway answers and sees every stage ready."""
        ends_at = time.monotonic() + BACK_SECONDS
        for url in self.urls:
            while (away := _away(url)) is not None:
                assert self.alive(), "`bowerbird up` has ended:\n" + "".join(self.said[-30:])
                assert time.monotonic() < ends_at, f"{away} after {BACK_SECONDS:.0f} s"
                time.sleep(POLL_SECONDS)

    def trouble(self, link: str, trouble: Trouble | None, place: float = 0.0) -> None:
        """Begins trouble on the way to a stage, or to a gateway from the other one; or ends it."""
        assert self._proxy is not None
        assert self._proxy.stdin is not None
        assert self._proxy.stdout is not None
        self._proxy.stdin.write(json.dumps({"link": link, "trouble": trouble, "place": place}) + "\n")
        self._proxy.stdin.flush()
        assert self._proxy.stdout.readline().strip() == "done"

    def fill_disk(self) -> None:
        """Takes what is free on the state folder's filesystem."""
        with self._ballast.open("wb") as file:
            size = 1 << 28
            while size >= 1:
                try:
                    os.posix_fallocate(file.fileno(), file.tell(), size)
                    file.seek(0, os.SEEK_END)
                except OSError:
                    size //= 2

    def free_disk(self) -> None:
        """Gives it back."""
        self._ballast.unlink(missing_ok=True)

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        """Everything but `up` itself: filesystem, database, picture store, proxies."""
        with ExitStack() as stack:
            (self.folder / "tmp").mkdir(parents=True)
            self.home.mkdir()
            if means(self.setup).small_disk:
                stack.enter_context(_mounted(self.home, DISK_BYTES))
            if self.setup is Setup.POSTGRESQL:
                self._open_shared(stack)
            stack.enter_context(self._proxies())
            stack.callback(self._end)
            stack.enter_context(self.hands)
            yield

    @property
    def _ballast(self) -> Path:
        return self.home / "ballast"

    def _open_shared(self, stack: ExitStack) -> None:
        self.postgresql = stack.enter_context(running_postgresql())
        self.environment["BOWERBIRD_DATABASE_URL"] = self.postgresql.create("chaos")
        if means(self.setup).s3:
            self.s3 = stack.enter_context(running_s3())
            self.environment |= {**self.s3.environment, "BOWERBIRD_PICTURES_URL": f"{self.s3.bucket_url}/chaos"}
        else:
            self.environment["BOWERBIRD_PICTURES_URL"] = (self.folder / "pictures").as_uri()

    @contextmanager
    def _proxies(self) -> Iterator[None]:
        links = {name: [port, self._layout.ports[name]] for name, port in self._layout.links.items()}
        self._proxy = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.proxy", json.dumps(links)],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with self._proxy as proxy:
            assert proxy.stdout is not None
            assert proxy.stdin is not None
            assert proxy.stdout.readline().strip() == "ready"
            yield
            proxy.stdin.close()

    def _reap(self) -> None:
        """Waits until `up` has ended, and closes what was heard of it."""
        assert self._up is not None
        assert self._listening is not None
        self._up.wait(STOP_SECONDS)
        self._listening.join(STOP_SECONDS)
        for stream in (self._up.stdout, self._up.stderr):
            if stream is not None:
                stream.close()

    def _end(self) -> None:
        """Leaves nothing running, whatever happened."""
        for paused in (self.postgresql, self.s3):
            if paused is not None:
                with suppress(psutil.NoSuchProcess):
                    paused.resume()
        if self.stack_ids:
            for process in self.processes():
                with suppress(psutil.NoSuchProcess):
                    process.resume()
        if self.alive():
            self.kill_everything()


def pausable(stack: Stack, target: str) -> RunningPostgreSQL | RunningS3 | None:
    """The server of this name that is none of ours."""
    return {DATABASE: stack.postgresql, STORE: stack.s3}.get(target)


def _quiet_ports() -> Iterator[int]:
    """Free ports that the system gives to nobody by itself: they must be free again after a kill, too."""
    for port in random.sample(QUIET_PORTS, len(QUIET_PORTS)):
        with suppress(PortTaken):
            require_free("127.0.0.1", port)
            yield port


def _away(url: str) -> str | None:
    """What is not ready as this gateway sees it, or None."""
    try:
        answer = httpx2.get(f"{url}/readyz", timeout=2.0, trust_env=False)
        states = {stage["name"]: stage["state"] for stage in answer.json()["stages"]}
    except (httpx2.HTTPError, ValueError, KeyError) as error:
        return f"{url} does not answer ({type(error).__name__})"
    missing = sorted(name for name, state in states.items() if state != "ready")
    return f"{', '.join(missing)} is not ready" if missing else None


def _has_s3(setup: Setup) -> bool:
    return setup is Setup.POSTGRESQL and S3.path.exists()


def _can_mount() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0 and Path(_MOUNT).exists()


@contextmanager
def _mounted(folder: Path, size_bytes: int) -> Iterator[None]:
    """A filesystem in memory with a bound, at this folder."""
    subprocess.run([_MOUNT, "-t", "tmpfs", "-o", f"size={size_bytes}", "chaos", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run([_UNMOUNT, "--lazy", str(folder)], check=True)
