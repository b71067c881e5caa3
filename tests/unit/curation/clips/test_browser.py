"""A clip's file in Chromium, signed as it leaves: it plays to its end, and shows what was encoded."""

from __future__ import annotations

import base64
import json
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from bowerbird.curation.clips.encoding import MEDIA_TYPES
from bowerbird.curation.clips.publishing import publish_clip
from bowerbird.curation.credentials import Credentials
from bowerbird.curation.publishing import Publisher
from tests.unit.curation.clips.moving import Clip, crossing, psnr
from tests.unit.curation.clips.test_encoding import wanted

CHROMIUM = shutil.which("chromium")
ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio")
FRAMES, FRAMES_PER_SECOND, SIDE = 8, 8, 96
LOOKED_AT = (0, 3, 7)
SECONDS = 90
MIN_DECIBELS = 26.0
"""Another picture is below 15; the browser's own arithmetic of colours costs some of the encoder's 30."""

PAGE = """<!doctype html><title>clips</title><script>
const canvas = new OffscreenCanvas(SIDE, SIDE).getContext('2d', {willReadFrequently: true});
function pixels(picture) {
  canvas.drawImage(picture, 0, 0);
  return btoa(String.fromCharCode(...canvas.getImageData(0, 0, SIDE, SIDE).data));
}
const happens = (what, event) => new Promise((done, failed) => {
  what.addEventListener(event, done, {once: true});
  what.addEventListener('error', () => failed(new Error(what.error.message)), {once: true});
});
const presented = (video, frame) => new Promise(done => {  // 'seeked' may come before the frame can be painted
  const look = (_, {mediaTime}) =>
    Math.round(mediaTime * RATE) === frame ? done() : video.requestVideoFrameCallback(look);
  video.requestVideoFrameCallback(look);
});
async function played(type) {
  const video = document.createElement('video');
  video.muted = true;
  video.src = URL.createObjectURL(await (await fetch(`/${type}`)).blob());
  const ended = happens(video, 'ended');
  await video.play();
  await ended;
  const frames = [];
  for (const frame of LOOKED_AT) {
    const sought = happens(video, 'seeked'), there = presented(video, frame);
    video.currentTime = (frame + 0.5) / RATE;
    await sought;
    await there;
    frames.push(pixels(video));
  }
  return {seconds: video.duration, size: [video.videoWidth, video.videoHeight], frames};
}
async function decoded(type) {
  const decoder = new ImageDecoder({data: (await fetch(`/${type}`)).body, type});
  await decoder.completed;
  const count = decoder.tracks.selectedTrack.frameCount, frames = [];
  let microseconds = 0, size;
  for (let frame = 0; frame < count; frame++) {
    const {image} = await decoder.decode({frameIndex: frame});
    microseconds += image.duration;
    size = [image.displayWidth, image.displayHeight];
    if (LOOKED_AT.includes(frame)) frames.push(pixels(image));
    image.close();
  }
  return {seconds: microseconds / 1e6, size, frames};
}
async function all() {
  const said = {};
  for (const type of TYPES) said[type] = await (type.startsWith('video/') ? played : decoded)(type);
  return said;
}
all().catch(error => ({error: String(error)}))
  .then(said => fetch('/said', {method: 'POST', body: JSON.stringify(said)}));
</script>"""


@contextmanager
def site(files: Mapping[str, bytes]) -> Iterator[tuple[str, queue.Queue[bytes]]]:
    """The address of a page that shows clips, by their media types, and what the browser says of them."""
    said: queue.Queue[bytes] = queue.Queue()
    facts = {"SIDE": SIDE, "LOOKED_AT": list(LOOKED_AT), "RATE": FRAMES_PER_SECOND, "TYPES": list(files)}
    constants = "".join(f"const {name} = {json.dumps(value)};" for name, value in facts.items())
    page = PAGE.replace("<script>", f"<script>{constants}", 1).encode()

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            media_type = self.path.removeprefix("/")
            body = files.get(media_type, page)
            self.send_response(200)
            self.send_header("Content-Type", media_type if media_type in files else "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            said.put(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", said
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def clip() -> Clip:
    return crossing(FRAMES, SIDE, speed=4.0, grain=0.0)


@pytest.fixture(scope="module")
def shown(clip: Clip, credentials: Credentials, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one browser says of the clip in each format."""
    publisher = Publisher(credentials)
    files = {
        media_type: publish_clip(publisher, clip, wanted(each, FRAMES, FRAMES_PER_SECOND))[1]
        for each, media_type in MEDIA_TYPES.items()
    }
    profile = tmp_path_factory.mktemp("profile")
    assert CHROMIUM is not None
    with site(files) as (address, said):
        command = [CHROMIUM, *ARGUMENTS, f"--user-data-dir={profile}", address]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
            try:
                heard: dict[str, Any] = json.loads(said.get(timeout=SECONDS))
            finally:
                browser.kill()
    assert heard.get("error") is None
    return heard


def read(encoded: str) -> Clip:
    return np.frombuffer(base64.b64decode(encoded), np.uint8).reshape(SIDE, SIDE, 4)[..., :3]


@pytest.mark.skipif(CHROMIUM is None and not os.environ.get("CI"), reason="there is no Chromium here")
@pytest.mark.parametrize("media_type", MEDIA_TYPES.values())
def test_a_clip_plays_in_chromium(media_type: str, shown: dict[str, Any], clip: Clip) -> None:
    it = shown[media_type]
    assert (it["seconds"], it["size"]) == (pytest.approx(FRAMES / FRAMES_PER_SECOND, abs=0.02), [SIDE, SIDE])
    frames = np.stack([read(each) for each in it["frames"]])
    assert psnr(frames, clip[list(LOOKED_AT)]) > MIN_DECIBELS
    assert [int(np.argmin(np.abs(clip.astype(int) - frame).mean((1, 2, 3)))) for frame in frames] == list(LOOKED_AT)
