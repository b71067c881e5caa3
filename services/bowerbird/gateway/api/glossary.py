"""What a field's name means wherever it stands: description, unit, range and example, said once for the whole API.

`openapi_schemas` fills in what a shape leaves unsaid; what a shape says itself wins, and `Shape.field` here is said of
that shape only. One word has one meaning: a field that means something else under a name that stands here says so in
its shape. That no field is left without words, a numeric one without unit and range, a leaf without an example, is
kept by `tests/unit/gateway/test_document.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bowerbird.contracts import MAX_CANDIDATES, MAX_IMAGES, MAX_SEED, MAX_STEPS

UNIX_SECONDS = 1_795_281_245
DIGEST = "sha256:" + "5f" * 32
PICTURE = "iVBORw0KGgoAAAANSUhEUgAA…"
LATEST_UNIX_SECONDS = 253_402_300_799
"""The end of the year 9999."""
MOST = 2**53 - 1
"""The largest whole number that every JSON reader keeps exactly."""


@dataclass(frozen=True, slots=True)
class Word:
    """What is said of a name."""

    description: str
    example: Any = None
    minimum: float | None = None
    maximum: float | None = None


def _moment(what: str) -> Word:
    return Word(f"Unix seconds{what}.", UNIX_SECONDS, 0, LATEST_UNIX_SECONDS)


def _count(what: str, example: float, maximum: float = MOST) -> Word:
    return Word(what, example, 0, maximum)


UNITS: Mapping[str, tuple[str, ...]] = {
    "Unix seconds": ("created", "at", "*_at", "*_expires_at", "failing_since"),
    "Unix milliseconds": ("at_ms",),
    "seconds": ("*_seconds", "seconds"),
    "milliseconds": ("*_ms",),
    "pixels": ("*_pixels", "pixels"),
    "bytes": ("*_bytes", "bytes"),
    "tokens": ("*_tokens",),
    "compute units": ("compute_units", "compute_units_per_minute"),
    "denoising steps": ("steps", "*_steps"),
    "percent": ("output_compression", "CreateVideo*.quality", "progress"),
    "factor": ("guidance_scale", "*_guidance_scale", "weight"),
    "share, 0 to 1": ("strength", "queue_part", "probability"),
    "columns of a matrix": ("rank", "*_rank"),
    "pictures": ("n", "pictures", "partial_images"),
    "candidates": ("candidates",),
    "species": ("compared",),
    "pods": ("pods",),
    "requests": (
        *("requests", "requests_per_*", "concurrent_requests", "total", "completed", "failed"),
        *("queued", "running", "draining"),
    ),
    "frames per second": ("fps",),
    "frames": ("frames", "*_frames", "frame_count"),
    "stars": ("stars",),
    "times": ("attempts",),
    "place in a sequence": ("position", "number", "line", "image", "candidate", "partial_image_index"),
    "none: a name": ("seed", "variation", "version", "rewards_version", "status_code"),
    "none: a measure": ("reward", "value", "minimum", "maximum", "ImageFacts.total"),
}
"""Unit -> names of fields, or how they begin or end; `x-unit` of every number. What is counted is a unit, too."""

_LISTS = {
    "object": Word("What kind of thing this is."),
    "data": Word("The rows of this page."),
    "has_more": Word("Whether there are rows behind this page.", False),
    "next_cursor": Word("Send it as `after` for the next page; null on the last one.", "MTc5NTI4MTI0NQ.3q2-7w"),
    "first_id": Word("`id` of the first row of this page; null where there is none.", "webhook_0c5f3a1b2d4e6f70"),
    "last_id": Word("`id` of the last row of this page: send it as `after` for the next.", "webhook_0c5f3a1b2d4e6f71"),
    "deleted": Word("It is gone.", True),
    "id": Word("Its name here; it never changes.", "0c5f3a1b2d4e6f708192a3b4"),
    "name": Word("For people, to tell it from others.", "web"),
}
_MOMENTS = {
    "created": _moment(""),
    "created_at": _moment(" when it was made"),
    "updated_at": _moment(" when it was changed last"),
    "expires_at": _moment(" when it is over; null: never by itself"),
    "finished_at": _moment(" when it ended; null: not yet"),
    "next_attempt_at": _moment(" of the next attempt"),
    "revoked_at": _moment(" when it was revoked"),
    "last_used_at": _moment(" when it was used last"),
    "disabled_at": _moment(" when it was disabled"),
    "failing_since": _moment(" of the first failed attempt"),
    "previous_secret_expires_at": _moment(" when the former secret ends"),
    "at": _moment(" when it happened"),
    "since": Word("When it became so, RFC 3339.", "2026-11-21T17:00:00Z"),
    "day": Word("A day, UTC.", "2026-11-21"),
    "first_day": Word("The first day, UTC; itself included.", "2026-10-23"),
    "last_day": Word("The last day, UTC; itself included.", "2026-11-21"),
}
_REQUESTS = {
    "model": Word("The model by its name in /v1/models.", "fledgling"),
    "n": _count("How many pictures.", 1, MAX_IMAGES),
    "quality": Word("How much computing a picture gets.", "medium"),
    "output_format": Word("How the pictures are encoded.", "png"),
    "output_compression": Word("Encoder quality in percent.", 85),
    "stream": Word("Whether the answer is a stream of events.", False),
    "partial_images": Word("How many previews at most.", 2),
    "safety_identifier": Word("The stable, hashed name of your end user.", "user-7f3a"),
    "user": Word("Deprecated name of `safety_identifier`.", "user-7f3a"),
    "seed": Word("Same seed, same picture.", 7, 0, MAX_SEED),
    "negative_prompt": Word("What to keep away from.", "blurred, dark"),
    "steps": Word("Denoising steps.", 20, 1, MAX_STEPS),
    "guidance_scale": Word("How closely the prompt is followed, as a factor; 1 is without guidance.", 4.0, 1, 20),
    "candidates": Word("How many are drawn for each picture.", 2, 1, MAX_CANDIDATES),
    "strength": Word("How much may change, as a share.", 0.6),
    "image": Word("The bytes of one picture.", "@robin.png"),
    "mask": Word("The bytes of a picture with transparency.", "@mask.png"),
    "cache": Word("Whether pictures that were drawn before will do.", "auto"),
    "input": Word("The texts.", "an american robin perched on a branch in winter"),
    "text": Word("In a person's own words.", "lovely beak"),
    "type": Word("What kind of thing this is.", "text"),
    "NamedLora.id": Word("Its name in /v1/loras.", "watercolour"),
    "NamedLora.weight": Word("As a factor; 1 is as it was taught.", 0.8),
    "TextInput.type": Word("Only text is read in this version."),
    "TextInput.text": Word("A text.", "an american robin perched on a branch in winter"),
    "GiveFeedback.image": Word("Which picture of the answer, from 0.", 0),
    "FeedbackBody.image": _count("Which picture of the answer, from 0.", 0, MAX_IMAGES - 1),
}
_PICTURES = {
    "b64_json": Word("A picture, base64.", PICTURE),
    "revised_prompt": Word("What was drawn instead, where personal data was taken out.", "a robin on a lawn"),
    "background": Word("Pictures are always opaque."),
    "size": Word("WIDTHxHEIGHT in pixels.", "256x256"),
    "bowerbird": Word("What OpenAI's shape has no word for; ours."),
    "request_id": Word("`x-request-id` of the request, or the id of the job.", "req_0123456789abcdef01234567"),
    "drawn_by": Word("The request that drew.", "req_0123456789abcdef01234567"),
    "trace_id": Word("W3C, 32 hexadecimal digits.", "4bf92f3577b34da6a3ce929d0e0e4736"),
    "model_digest": Word("Of the bundle that drew.", DIGEST),
    "loras": Word("Name and digest of each LoRA.", {"watercolour": DIGEST}),
    "images": Word("How each picture came to be, in the order of `data`."),
    "seconds": Word("Seconds by stage; stages overlap.", {"admit": 0.01, "draw": 1.8, "publish": 0.05}),
    "candidate": _count("Which candidate was chosen, counted from 0.", 0, MAX_CANDIDATES - 1),
    "total": Word("What candidates were ranked by; a number without unit, higher is better.", 0.71),
    "scores": Word("Each with its version, direction and range."),
    "partial_image_index": _count("Which preview this is, counted from 0.", 0, 2),
    "input_tokens": _count("How many tokens were read.", 12),
    "output_tokens": _count("How many tokens (positions of latents) were drawn.", 1024),
    "total_tokens": _count("How many tokens in all.", 1036),
    "image_tokens": _count("How many tokens of pictures were read.", 0),
    "text_tokens": _count("How many tokens of texts were read.", 12),
    "input_tokens_details": Word("What was read, by kind."),
    "usage": Word("What was read and drawn, in tokens."),
    "Score.name": Word("What was measured.", "prompt_match"),
    "Score.version": Word("Of the measure.", "1"),
    "Score.value": Word("A number without unit, between `minimum` and `maximum`.", 0.71),
    "Score.minimum": Word("The least value that the measure gives.", 0.0),
    "Score.maximum": Word("The greatest value that the measure gives.", 1.0),
    "Score.direction": Word("Which values are good."),
}
_JOBS = {
    "status": Word("How far it is."),
    "work_class": Word("Who waits for it: somebody, or nobody in particular."),
    "compute_units": _count("Compute units: one is one row of one denoising step at the model's first size.", 22.4),
    "attempts": _count("How often it was begun.", 1),
    "phase": Word("The stage it is in, or `waiting`.", "draw"),
    "position": Word("Its place in the queue, counted from 1.", 3, 1, MOST),
    "eta_seconds": _count("Seconds until it leaves the queue, as predicted now.", 4.2),
    "error": Word("What went wrong, in the shape of every error."),
    "JobBody.reason": Word(
        "What keeps a stage from waking.", "Unschedulable: 0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
    ),
    "JobBody.error": Word(
        "Why it failed.",
        {"message": "…", "type": "server_error", "param": None, "code": "job_quarantined", "reason": "drawing_failed"},
    ),
}
_MODELS = {
    "digest": Word("SHA-256 of what it is made of.", DIGEST),
    "version": Word("Which one of this name.", "1"),
    "licence": Word("SPDX.", "Apache-2.0"),
    "owned_by": Word("Who offers it.", "bowerbird"),
    "sizes": Word("WIDTHxHEIGHT in pixels; the first is `auto`.", ["256x256"]),
    "max_steps": Word("Denoising steps, at most.", 50, 1, MAX_STEPS),
    "default_steps": Word("Denoising steps where a request states none.", 20, 1, MAX_STEPS),
    "default_guidance_scale": Word("The factor where a request states none.", 4.0, 1, 20),
    "max_guidance_scale": Word("The greatest factor.", 15.0, 1, 20),
    "max_prompt_tokens": _count("How many tokens a prompt may have.", 75),
    "max_lora_rank": _count("The largest rank (number of columns) of a LoRA; 0: it takes none.", 64),
    "rank": _count("The number of columns of its matrices.", 16),
    "bytes": _count("How large it is, in bytes.", 1_605_632),
    "refused": Word("File name -> why it cannot be used.", {"broken.safetensors": "rank 128 is above 64"}),
}
_SAFETY = {
    "flagged": Word("Whether any category applies.", False),
    "categories": Word("Whether each of OpenAI's categories, and of ours, applies.", {"violence": False}),
    "category_scores": Word("Probability of each, 0 to 1; 0 also where nobody looks.", {"violence": 0.01}),
    "category_applied_input_types": Word("What each was looked for in; empty: nobody looks.", {"violence": ["text"]}),
    "action": Word("What safety would do with it as a prompt."),
    "reasons": Word("Which rules spoke.", ["violence.pattern"]),
    "policy": Word("Which safety policy decided."),
    "results": Word("One result for each input."),
    "verdict": Word("What the label says and whether it can be believed."),
    "explanation": Word("The verdict in plain language.", "Made by this installation, and not changed since."),
    "validation_codes": Word("What C2PA's validation found.", ["claimSignature.validated"]),
    "digital_source_type": Word("IPTC's term for how it was made.", "trainedAlgorithmicMedia"),
    "issuer": Word("Who signed the label.", "Bowerbird"),
    "generated_at": Word("RFC 3339, UTC.", "2026-11-21T17:00:00Z"),
    "outcome": Word("What was found.", "detected"),
    "validation_state": Word("Whether the label's signature holds, and whose it is.", "trusted"),
    "PolicyReference.id": Word("Its name.", "default"),
    "C2paResult.model": Word("The model that the label names.", "fledgling"),
    "CheckProvenance.file": Word("The bytes of one picture.", "@out/first.png"),
}
_FEEDBACK = {
    "kind": Word("What was done."),
    "stars": Word("How many stars.", 4, 1, 5),
    "tags": Word("Words of your own.", ["too-dark"]),
    "variant": Word("What drew: the model's name, or that of a variant beside it.", "fledgling"),
    "reward": Word("What it is worth; a number without unit.", 0.5, -1, 1),
    "rewards_version": Word("The version number of the file that states rewards.", 1, 1, MOST),
    "rewards_digest": Word("Of the file that states rewards.", DIGEST),
    "pictures": _count("How many pictures.", 1),
    "pixels": _count("Pixels of every frame that was drawn.", 65_536),
    "requests": _count("How many requests.", 12),
}
_ADMINISTRATION = {
    "tenant": Word("The tenant by its id.", "birds"),
    "tier": Word("What it may take: one of /v1/admin/tiers.", "standard"),
    "weight": Word("Share of the model, as a factor beside others' shares.", 1.0, 0.01, 100),
    "role": Word("What it may do, in one word."),
    "scopes": Word("What it may do, one by one.", ["images:write", "jobs:read"]),
    "expires_in_seconds": Word("Seconds from now.", 7_776_000),
    "overlap_seconds": Word("Seconds for which both work.", 86_400),
    "prefix": Word("How its text begins.", "bb_3kP9"),
    "key": Word("The key's text, this once.", "bb_3kP9…"),
    "replaced_by": Word("The key that it was rotated to.", "key_0c5f3a1b2d4e6f70"),
    "disabled": Word("Whether its keys are refused.", False),
    "requests_per_second": _count("How many requests in a second.", 10),
    "requests_per_minute": _count("How many requests in a minute.", 120),
    "requests_per_hour": _count("How many requests in an hour.", 3_600),
    "requests_per_day": _count("How many requests in a day.", 50_000),
    "compute_units_per_minute": _count("Compute units in a minute.", 2_000),
    "concurrent_requests": _count("How many requests at a time.", 16),
    "queue_part": Word("Share of the waiting room.", 0.25, 0, 1),
    "picture_pixels": _count("Pixels of the largest picture.", 1_048_576),
    "CreateTenant.id": Word("Its name here.", "birds"),
    "TenantBody.id": Word("Its name here; it never changes.", "birds"),
    "CreateTenant.name": Word("For people.", "Bird application"),
    "TenantBody.name": Word("For people.", "Bird application"),
    "actor": Word("Who did it.", "key:key_0c5f3a1b2d4e6f70"),
    "action": Word("What was done.", "key.revoked"),
    "at_ms": Word("Milliseconds since 1970.", 1_000 * UNIX_SECONDS, 0, 1_000 * LATEST_UNIX_SECONDS),
    "before": Word("How it was; null: it was not there.", {"tier": "free"}),
    "after": Word("How it is; null: it is not there any more.", {"tier": "standard"}),
    "previous_hash": Word("Of the entry before, hexadecimal.", "00" * 32),
    "hash": Word("Hexadecimal.", "5f" * 32),
}
_BATCHES = {
    "in_progress_at": _moment(" when its first line was run"),
    "finalizing_at": _moment(" when its last line had ended"),
    "completed_at": _moment(" when it was complete"),
    "failed_at": _moment(" when it was found to be none"),
    "expired_at": _moment(" when its time was over"),
    "cancelling_at": _moment(" when it was cancelled"),
    "cancelled_at": _moment(" when nothing of it was run any more"),
    "input_file_id": Word("The lines.", "file-0123456789abcdef01234567"),
    "output_file_id": Word("What the lines were answered.", "file-0123456789abcdef01234568"),
    "error_file_id": Word("The lines that failed.", "file-0123456789abcdef01234569"),
    "metadata": Word("What you wrote to it.", {"run": "nightly"}),
    "RequestCounts.total": _count("How many lines there are.", 500),
    "line": Word("Which line of the file, counted from 1.", 3, 1, MOST),
    "completed": _count("How many lines were answered.", 498),
    "failed": _count("How many lines failed.", 2),
    "filename": Word("As it was uploaded.", "prompts.jsonl"),
    "status_details": Word("Always null."),
    "UploadForm.file": Word("The bytes of a JSONL file.", "@prompts.jsonl"),
}
_RIGHTS = {
    "person": Word("The end user by a keyed name.", "9f" * 32),
    "step": Word("Where it is.", "remove"),
    "rewritten": Word("Whether the database's files were written anew.", True),
    "requested_at": _moment(" when it was asked for"),
    "due_at": _moment(" by when it is finished"),
    "archive": Word("Path of the archive.", "/v1/exports/export_0123456789abcdef01234567/archive"),
}
_SPECIES = {
    "probability": Word("That it shows this species, among those that are known, 0 to 1.", 0.82, 0, 1),
    "most_like": Word("The known species that it looks like most.", "Blue jay"),
    "SpeciesClip.seconds": Word("How long it is, in seconds.", 3),
    "compared": _count("How many species are known.", 20),
    "family": Word("The family that its genus belongs to.", "thrushes"),
    "lora": Word("What took part for the family.", "thrushes"),
    "FileVersion.version": Word("Which one of this name.", 1, 1, MOST),
}
_WEBHOOKS = {
    "url": Word("Where it is told, by POST.", "https://birds.example/hooks/bowerbird"),
    "event_types": Word("What it is told.", ["image.job.succeeded"]),
    "event_type": Word("What is told.", "image.job.succeeded"),
    "enabled": Word("Whether it is told anything.", True),
    "signing_secret": Word("`whsec_` and base64.", "whsec_…"),
    "signing_secret_hint": Word("How the secret ends.", "…x7Q="),
    "webhook_endpoint_id": Word("The endpoint.", "webhook_0c5f3a1b2d4e6f70"),
    "status_code": Word("HTTP status number of the receiver's answer; null where there was none.", 200, 100, 599),
    "latency_ms": _count("Milliseconds until the status was there.", 84),
    "number": Word("Counted from 1.", 1, 1, MOST),
    "subject": Word("The job or batch.", "job_0c5f3a1b2d4e6f708192a3b4"),
    "keep_old_secret_active_for_24_hours": Word("Whether both sign for a day.", True),
    "WebhookAttempt.outcome": Word("How it ended.", "delivered"),
    "WebhookDelivery.attempts": Word("Every request to the receiver."),
}
_HEALTH = {
    "EndpointLeftOut.endpoint": Word("Host and port.", "10.0.0.7:3001"),
    "reason": Word("Why.", "another model than the others"),
    "stages": Word("Each stage, as the gateway last saw it."),
    "state": Word("How it is."),
    "left_out": Word("Endpoints that are given nothing.", []),
    "StageReadiness.name": Word("Which stage.", "text-to-image"),
    "message": Word("For the caller.", "size: '1x1' is not accepted. Accepted: 256x256."),
    "param": Word("The request field it is about; null where it is about none.", "size"),
    "code": Word("Which fact it is: for programs.", "unsupported_size"),
    "ErrorFacts.type": Word("What kind of fact it is, in OpenAI's words.", "invalid_request_error"),
}

_CLIPS = {
    "fps": Word("Frames a second.", 24),
    "format": Word("How the clip is encoded.", "mp4"),
    "CreateVideo.seconds": Word("How long it is, in seconds.", 3.0),
    "clip": Word("How it moves; null for pictures that do not."),
    "prompt": Word("What is drawn.", "a cardinal taking off, winter"),
    "remixed_from_video_id": Word("Always null."),
    "facts": Word("How it came to be."),
    "frame_count": Word("Frames of a picture that moves.", 9),
    "frame_duration_ms": Word("How long each of them is shown, in milliseconds.", 200),
    "VideoError.type": Word("What kind of fact it is, in OpenAI's words.", "image_generation_user_error"),
}

WORDS: Mapping[str, Word] = {
    **_LISTS,
    **_CLIPS,
    **_MOMENTS,
    **_REQUESTS,
    **_PICTURES,
    **_JOBS,
    **_MODELS,
    **_SAFETY,
    **_FEEDBACK,
    **_ADMINISTRATION,
    **_BATCHES,
    **_RIGHTS,
    **_SPECIES,
    **_WEBHOOKS,
    **_HEALTH,
}
"""Name, or `Shape.name` -> what is said of it."""
