"""What leaves: pictures as curation encodes, labels and signs them; what is not labelled does not leave.

The story publishes the pictures that were chosen, `previews` what a picture will be: the same stage, the same label.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from bowerbird import __version__
from bowerbird.contracts import (
    CurationDescription,
    Digest,
    LoraId,
    Origin,
    Picture,
    PolicyReference,
    PublishDone,
    PublishRequest,
)
from bowerbird.gateway.call import Call
from bowerbird.gateway.clips.plan import ClipPlan
from bowerbird.gateway.plan import Plan
from bowerbird.gateway.upstream import Payload, Stage, Upstream, as_contract, broken, facts_as
from bowerbird.parts import Kind, Part, part
from bowerbird.telemetry import trace_id


@dataclass(frozen=True, slots=True)
class Published:
    """Pictures that may leave, and what signed them."""

    pictures: list[bytes]
    digests: tuple[str, ...]
    """SHA-256 of each, 64 hexadecimal digits; checked."""
    curation: CurationDescription


def label_of(
    plan: Plan | ClipPlan, policy: PolicyReference, seeds: Iterable[int], loras: Mapping[LoraId, Digest], call: Call
) -> Origin:
    """What the label says; a seed's digest is keyed with the request's id, so nobody searches it."""
    key = call.request_id.encode()
    digests = [hmac.new(key, str(seed).encode(), hashlib.sha256).hexdigest() for seed in seeds]
    return Origin(
        request_id=call.request_id,
        trace_id=trace_id(),
        model=plan.model.name,
        model_digest=plan.model.digest,
        seed_digests=[f"sha256:{digest}" for digest in digests],
        policy=policy,
        services={"gateway": __version__, **call.versions},
        loras=dict(loras),
        species=None if plan.species is None else plan.species.origin,
    )


async def source_of(plan: Plan | ClipPlan) -> list[bytes]:
    """The file that it begins with, as a part: it becomes an ingredient of what is published. Else none."""
    return [] if plan.original is None else [part(Kind.FILE, await plan.original.read())]


async def publish(request: PublishRequest, body: Payload, call: Call, upstream: Upstream) -> Published:
    """The pictures of `body`, encoded and labelled; raises StageBroken unless every one of them came back whole."""
    return await published(request.count, upstream.publish(body, call))


async def published(count: int, publishing: AsyncGenerator[Part]) -> Published:
    """What curation publishes, pictures or a clip; raises StageBroken unless all of it came whole."""
    pictures: dict[int, Part] = {}
    done: PublishDone | None = None
    async with aclosing(publishing) as parts:
        async for each in parts:
            if each.kind is Kind.PICTURE:
                pictures[_index(each)] = each
            elif each.kind is Kind.DONE:
                done = as_contract(PublishDone, each.body, Stage.CURATION)
    if done is None or sorted(pictures) != list(range(count)):
        raise broken(Stage.CURATION, f"published {len(pictures)} pictures instead of {count}")
    in_order = [pictures[index] for index in range(count)]
    return Published([each.body for each in in_order], tuple(map(_digest, in_order)), done.curation)


def _digest(published: Part) -> str:
    return published.digest or hashlib.sha256(published.body).hexdigest()


def _index(published: Part) -> int:
    picture = facts_as(Picture, published, Stage.CURATION)
    if picture.digest != f"sha256:{_digest(published)}":
        raise broken(Stage.CURATION, "published a picture that does not have the digest it states")
    return picture.index
