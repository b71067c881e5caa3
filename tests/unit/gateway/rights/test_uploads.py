"""Pictures that people sent along are theirs: in what they are given of it, and gone when they are erased."""

from __future__ import annotations

import hashlib

import httpx2
import pytest

from ..identity.gateways import bearer
from ..jobs.submitting import ASYNC, ended
from .conftest import Office
from .test_export import exported
from .traces import Someone, erased, found

NEEDLES = {who: f"the picture that only {who} has".encode() for who in ("them", "their colleague")}


def clip_of(office: Office, who: Someone, sent: bytes) -> str:
    """A finished clip that began with a picture."""
    with httpx2.Client(base_url=office.client.base_url, headers=bearer(who.key), timeout=60) as client:
        fields = {**who.fields, "seconds": "2", "fps": "8"}
        answer = client.post("/v1/videos", data=fields, files={"input_reference": ("a.png", sent)})
        assert answer.status_code == 200, answer.text
        assert ended(client, answer.json()["id"])["error"] is None
    return str(answer.json()["id"])


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_a_picture_that_a_clip_began_with_is_in_the_archive_and_goes_with_its_person(office: Office) -> None:
    sent, kept = NEEDLES.values()
    clip, _ = clip_of(office, office.them, sent), clip_of(office, office.colleague, kept)
    assert found(office.place.folders, NEEDLES) == set(NEEDLES)
    archive = exported(office.client, office.them.key, safety_identifier=office.them.identifier)
    [job] = archive.rows("jobs")
    assert (job["id"], job["upload"]["digest"]) == (clip, f"sha256:{hashlib.sha256(sent).hexdigest()}")
    assert archive.members[job["upload"]["file"]] == sent
    assert kept not in archive.body
    done = erased(office.client, office.them.key, safety_identifier=office.them.identifier)
    assert done["erased"] == {"exports": 1, "jobs": 1, "pictures": 2}
    assert found(office.place.folders, NEEDLES) == {"their colleague"}


def edit_of(office: Office, who: Someone, image: bytes, mask: bytes) -> str:
    """A finished job of an edit."""
    with httpx2.Client(base_url=office.client.base_url, headers=bearer(who.key), timeout=60) as client:
        files = {"image": ("a.png", image), "mask": ("b.png", mask)}
        answer = client.post("/v1/images/edits", data=who.fields, files=files, headers=ASYNC)
        assert answer.status_code == 202, answer.text
        assert ended(client, answer.json()["id"])["error"] is None
    return str(answer.json()["id"])


@pytest.mark.parametrize("place", ["sqlite", "postgresql"], indirect=True)
def test_what_an_edit_began_with_is_in_the_archive_and_goes_with_its_person(office: Office) -> None:
    sent, kept = NEEDLES.values()
    job_id, _ = edit_of(office, office.them, sent, b"a hole"), edit_of(office, office.colleague, b"a bird", kept)
    assert found(office.place.folders, NEEDLES) == set(NEEDLES)
    archive = exported(office.client, office.them.key, safety_identifier=office.them.identifier)
    [job] = archive.rows("jobs")
    assert (job["id"], job["request"]["asked"]["file_bytes"]) == (job_id, [len(sent), len(b"a hole")])
    assert archive.members[job["upload"]["file"]] == sent + b"a hole"
    assert kept not in archive.body
    done = erased(office.client, office.them.key, safety_identifier=office.them.identifier)
    assert done["erased"] == {"exports": 1, "jobs": 1, "pictures": 2}
    assert found(office.place.folders, NEEDLES) == {"their colleague"}
