"""Content credentials: writing C2PA manifests into files, and reading them with their validation.

The only module that touches c2pa-python: its interface moves monthly, so its version is pinned, its exceptions end here
and `tests/unit/curation/test_credentials.py` is the contract that a new version has to pass. It never asks the network
(no remote manifests, no OCSP, no time-stamping authority): it runs where nothing can be reached.

Thumbnails are off: they would double the size of a small picture. A signature is not verified by c2pa while signing,
because whoever publishes reads the finished file back, which costs the same (1.7 ms) and proves more.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import c2pa

from bowerbird.curation.certificates import SigningIdentity

ValidationState = Literal["trusted", "valid", "invalid"]

MANIFEST_MARK = b"jumdc2pa"
"""How every C2PA manifest store begins (a JUMBF description box of type c2pa), whatever the file's format."""


class SigningFailed(Exception):
    """c2pa could not write a manifest into the file."""


class ManifestUnreadable(Exception):
    """The file holds a manifest that cannot be parsed, or the file itself cannot."""


@dataclass(frozen=True, slots=True)
class Credential:
    """The manifests of one file, and what validating the active one said.

    `active` and `others` are c2pa's JSON; `failures` and `passed` hold C2PA's status codes
    (`assertion.dataHash.mismatch`).
    """

    state: ValidationState
    active: dict[str, Any]
    others: list[dict[str, Any]]
    failures: list[str]
    passed: list[str]

    def assertion(self, label: str) -> dict[str, Any] | None:
        """The data of the active manifest's assertion with this label."""
        for each in self.active.get("assertions", []):
            if each.get("label") == label and isinstance(each.get("data"), dict):
                return cast("dict[str, Any]", each["data"])
        return None

    def actions(self) -> list[dict[str, Any]]:
        """The active manifest's actions: what was done to make the file."""
        return actions_of(self.active)


def actions_of(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """What a manifest says was done; both versions of C2PA's actions assertion."""
    return [
        action
        for each in manifest.get("assertions", [])
        if str(each.get("label", "")).startswith("c2pa.actions")
        for action in each.get("data", {}).get("actions", [])
        if isinstance(action, dict)
    ]


@dataclass(frozen=True, slots=True)
class Ingredient:
    """The file that an edit began with, as the manifest's actions call it."""

    label: str
    media_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Signed:
    """A file with its manifest, and how many bytes the manifest takes."""

    content: bytes = field(repr=False)
    manifest_bytes: int


class Credentials:
    """Signs as one identity and reads what anybody signed; used by many threads at once."""

    def __init__(self, identity: SigningIdentity) -> None:
        """Raises SigningFailed when c2pa refuses the certificate or the key."""
        try:
            signer = c2pa.Signer.from_info(
                # None and not an empty string as time-stamping authority: the latter is asked, and fails.
                c2pa.C2paSignerInfo(identity.algorithm, identity.chain, identity.key, None)
            )
            self._context = c2pa.Context.from_dict(_settings(identity), signer=signer)
        except c2pa.C2paError as error:
            raise SigningFailed("c2pa refuses the certificate or its key") from error
        try:
            self.certificate = identity.fingerprint
        except ValueError as error:
            raise SigningFailed("the certificate cannot be read") from error

    def sign(
        self, content: bytes, media_type: str, manifest: dict[str, Any], original: Ingredient | None = None
    ) -> Signed:
        """The file with the manifest embedded and signed; raises SigningFailed.

        Of `original` the manifest keeps the digest and, where it has one, the whole manifest: not its pixels.
        """
        signed = io.BytesIO()
        try:
            with c2pa.Builder(manifest, context=self._context) as builder:
                if original is not None:
                    _add(original, builder)
                store = builder.sign(media_type, io.BytesIO(content), signed)
        except c2pa.C2paError as error:
            raise SigningFailed("c2pa could not sign the file") from error
        return Signed(signed.getvalue(), len(store))

    def check(self, original: Ingredient) -> None:
        """Raises ManifestUnreadable when nothing can be signed that began with this file."""
        try:
            with c2pa.Builder({"assertions": []}, context=self._context) as builder:
                _add(original, builder)
        except c2pa.C2paError as error:
            raise ManifestUnreadable("the file cannot be an ingredient") from error

    def read(self, content: bytes, media_type: str) -> Credential | None:
        """What the file's manifests say and whether they hold; None when there are none; raises ManifestUnreadable."""
        try:
            reader = c2pa.Reader.try_create(media_type, io.BytesIO(content), context=self._context)
            if reader is None:
                return None
            with reader:
                return _credential(json.loads(reader.json()))
        except c2pa.C2paError as error:
            raise ManifestUnreadable("the file or its manifest cannot be parsed") from error


def _add(original: Ingredient, builder: c2pa.Builder) -> None:
    facts = {"title": original.label, "label": original.label, "relationship": "parentOf"}
    builder.add_ingredient(facts, original.media_type, io.BytesIO(original.content))


def _settings(identity: SigningIdentity) -> dict[str, Any]:
    return {
        "builder": {"thumbnail": {"enabled": False}},
        "verify": {
            "remote_manifest_fetch": False,
            "ocsp_fetch": False,
            "verify_trust": True,
            "verify_after_sign": False,
        },
        "trust": {"user_anchors": identity.anchors.decode("ascii")},
    }


def _credential(report: dict[str, Any]) -> Credential:
    manifests = dict(report.get("manifests", {}))
    active = manifests.pop(report.get("active_manifest"), {})
    results = report.get("validation_results", {}).get("activeManifest", {})
    state = str(report.get("validation_state", "Invalid")).lower()
    if state not in {"trusted", "valid"}:
        state = "invalid"
    return Credential(
        state=cast("ValidationState", state),
        active=active,
        others=list(manifests.values()),
        failures=_codes(results.get("failure", [])),
        passed=_codes(results.get("success", [])),
    )


def _codes(entries: list[dict[str, Any]]) -> list[str]:
    """The codes in their order, each once."""
    return list(dict.fromkeys(str(entry["code"]) for entry in entries if "code" in entry))
