"""Where does this file come from? Reads C2PA manifest and XMP of an upload and says what they prove.

Called by `service`, in a thread; nothing of an upload is kept. Four verdicts, from strong to weak:

    made_here_intact    our manifest, our signature, and the file is byte for byte what was signed
    made_here_modified  our manifest and our signature, around something else than what was signed
    other_ai_declared   the file declares itself as made by a model; whether that is true is not ours to prove
    no_evidence         nothing of this kind: which does not mean that no model made it, and is never said so

"Ours" needs the signature to verify and to chain to our trust anchors; a manifest that merely names us proves nothing,
since anybody can copy one. `outcome` follows OpenAI's reading: a signal that was tampered with is `not_detected`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from bowerbird.contracts import ProvenanceReport
from bowerbird.curation.credentials import (
    MANIFEST_MARK,
    Credential,
    Credentials,
    ManifestUnreadable,
    actions_of,
)
from bowerbird.curation.manifest import MADE, ORIGIN_LABEL
from bowerbird.curation.xmp import digital_source_type
from bowerbird.errors import RequestInvalid

MAX_UPLOAD_BYTES = 20 * 1024 * 1024
SIGNATURES = {
    re.compile(rb"\x89PNG\r\n\x1a\n"): "image/png",
    re.compile(rb"\xff\xd8\xff"): "image/jpeg",
    re.compile(rb"RIFF.{4}WEBP", re.DOTALL): "image/webp",
    re.compile(rb"GIF8[79]a"): "image/gif",
    re.compile(rb".{4}ftyp(?!avi[fs]|mif1|msf1|hei[cx])", re.DOTALL): "video/mp4",
}

# The last step of IPTC's and C2PA's URIs for "a model made this, or a part of it".
AI_SOURCE_TYPES = frozenset(
    {"trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia", "trainedAlgorithmicData"}
)

# The signed facts are still true when this is all that failed: the manifest is whole, only the picture is another.
_CONTENT_CHANGED = frozenset({"assertion.dataHash.mismatch", "assertion.bmffHash.mismatch"})

Verdict = Literal["made_here_intact", "made_here_modified", "other_ai_declared", "no_evidence"]

EXPLANATIONS: dict[Verdict, str] = {
    "made_here_intact": "This file was made by a model here, and nothing in it has changed since it was signed.",
    "made_here_modified": (
        "The file carries a manifest that was signed here, but it is not the file that was signed: it was changed "
        "afterwards, or the manifest was moved here from another file."
    ),
    "other_ai_declared": (
        "The file declares that a model made it, or a part of it. The declaration is not proved to be ours."
    ),
    "no_evidence": (
        "The file carries no usable evidence of where it comes from. That says nothing about how it was made: "
        "such labels are lost by screenshots, conversions and many platforms."
    ),
}
DAMAGED = " It also holds a manifest that is damaged or not validly signed; nothing in that can be believed."


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What was found: a readable manifest, the mark of an unreadable one, and the XMP claim."""

    credential: Credential | None
    damaged: bool
    xmp: str | None


def check(content: bytes, credentials: Credentials) -> ProvenanceReport:
    """What a file proves about its origin; raises RequestInvalid for another format than `SIGNATURES` has."""
    evidence = _evidence(content, _media_type(content), credentials)
    verdict = _verdict(evidence)
    credential = evidence.credential
    believed = credential if credential is not None and _facts_hold(credential, verdict) else None
    distrusted = evidence.damaged or (
        credential is not None and credential.state == "invalid" and verdict != "made_here_modified"
    )
    ours = _origin(believed) if verdict.startswith("made_here") else {}
    return ProvenanceReport(
        outcome="detected" if verdict == "made_here_intact" else "not_detected",
        validation_state=_state(evidence),
        verdict=verdict,
        issuer=_issuer(credential) if believed or verdict == "made_here_modified" else None,
        model=_model(believed),
        generated_at=_created(believed).get("when"),
        validation_codes=[] if credential is None else [*credential.failures, *credential.passed],
        digital_source_type=_declared(evidence),
        loras=ours.get("loras", {}),
        species=ours.get("species"),
        explanation=EXPLANATIONS[verdict] + (DAMAGED if distrusted else ""),
    )


def _media_type(content: bytes) -> str:
    """The media type that the first bytes show; nothing of a stranger's file is decoded."""
    for signature, media_type in SIGNATURES.items():
        if signature.match(content):
            return media_type
    raise RequestInvalid(
        "The file is nothing that can be checked; accepted are PNG, JPEG, WebP, GIF, MP4.", param="file"
    )


def _evidence(content: bytes, media_type: str, credentials: Credentials) -> _Evidence:
    xmp = digital_source_type(content)
    try:
        return _Evidence(credentials.read(content, media_type), damaged=False, xmp=xmp)
    except ManifestUnreadable:
        return _Evidence(None, damaged=MANIFEST_MARK in content, xmp=xmp)


def _verdict(evidence: _Evidence) -> Verdict:
    credential = evidence.credential
    if credential is not None and _signed_here(credential):
        return "made_here_intact" if credential.state == "trusted" else "made_here_modified"
    declared = _declared(evidence)
    return "other_ai_declared" if declared and _is_ai(declared) else "no_evidence"


def _signed_here(credential: Credential) -> bool:
    signature_holds = {"claimSignature.validated", "signingCredential.trusted"} <= set(credential.passed)
    expired = any(code.startswith("signingCredential.") for code in credential.failures)
    return signature_holds and not expired and credential.assertion(ORIGIN_LABEL) is not None


def _facts_hold(credential: Credential, verdict: Verdict) -> bool:
    """Whether what the manifest says is what was signed, by whomever."""
    if verdict == "made_here_modified":
        return bool(credential.failures) and set(credential.failures) <= _CONTENT_CHANGED
    return credential.state != "invalid"


def _state(evidence: _Evidence) -> Literal["trusted", "valid", "invalid", "not_present"]:
    if evidence.credential is not None:
        return evidence.credential.state
    return "invalid" if evidence.damaged else "not_present"


def _declared(evidence: _Evidence) -> str | None:
    """The digital source type that the file claims: one that names a model before any other, manifests before XMP."""
    credential = evidence.credential
    manifests = [credential.active, *credential.others] if credential else []
    claims = [str(a["digitalSourceType"]) for m in manifests for a in actions_of(m) if "digitalSourceType" in a]
    if evidence.xmp:
        claims.append(evidence.xmp)
    return next((claim for claim in claims if _is_ai(claim)), claims[0] if claims else None)


def _is_ai(source_type: str) -> bool:
    return source_type.rstrip("/").rsplit("/", 1)[-1] in AI_SOURCE_TYPES


def _created(credential: Credential | None) -> dict[str, Any]:
    actions = credential.actions() if credential else []
    return next((action for action in actions if action.get("action") in MADE), {})


def _origin(credential: Credential | None) -> dict[str, Any]:
    """What we said of it, under our own signature."""
    return (credential.assertion(ORIGIN_LABEL) if credential else None) or {}


def _model(credential: Credential | None) -> str | None:
    agent = _created(credential).get("softwareAgent")
    name = agent.get("name") if isinstance(agent, dict) else agent
    return None if name is None else str(name)


def _issuer(credential: Credential | None) -> str | None:
    issuer = (credential.active.get("signature_info") or {}).get("issuer") if credential else None
    return None if issuer is None else str(issuer)
