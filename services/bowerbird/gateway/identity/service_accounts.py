"""Tokens of Kubernetes' ServiceAccounts: the API server says whose they are (TokenReview, authentication.k8s.io/v1).

A pod mounts a projected token for the audience `bowerbird` and sends it as any other key; nothing has to be handed out,
kept or rotated by people. Which account is which tenant stands in the settings, and an account that does not stand
there is nobody, however real its token. The review is asked with our audience, and its answer must name it again: an
API server that knows nothing of audiences would otherwise vouch for tokens made for others
(https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/).

An answer is remembered by the token's digest for `BELIEVED_SECONDS`, never past the token's own expiry; a pod that is
deleted takes its token with it no later than that. The claims inside a token are read only to refuse early (another
audience, expired) and to forget early: nothing is believed because of them.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from pydantic import BaseModel, ValidationError

from bowerbird.errors import KeyExpired, KeyInvalid, StageUnavailable
from bowerbird.gateway.identity.access_key import digest_of
from bowerbird.gateway.identity.principal import Principal
from bowerbird.gateway.identity.scopes import Role
from bowerbird.settings import ServiceAccount, Settings

BELIEVED_SECONDS = 30.0
WRONG_SECONDS = 5.0
MAX_REMEMBERED = 10_000
MAX_TOKEN_CHARACTERS = 16_384
REVIEW_SECONDS = 5.0
RETRY_AFTER_SECONDS = 2
PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
USER = "system:serviceaccount:"

PrincipalOf = Callable[[str, Role, str], Awaitable[Principal]]
"""Tenant, role and actor -> the principal on the tenant's terms."""

logger = logging.getLogger(__name__)


class _User(BaseModel):
    username: str = ""


class _Status(BaseModel):
    authenticated: bool = False
    user: _User = _User()
    audiences: list[str] = []


class _Review(BaseModel):
    status: _Status


@dataclass(frozen=True, slots=True)
class _Seen:
    """`account` is `namespace:name`, or None for a token that the API server does not vouch for."""

    account: str | None
    until: float


def looks_like_token(credential: str) -> bool:
    """Whether a credential has the form of a JSON Web Token."""
    return credential.startswith("eyJ") and credential.count(".") == 2 and len(credential) <= MAX_TOKEN_CHARACTERS


class ServiceAccounts:
    """Principals by token; asks the API server through `session`."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        settings: Settings,
        principal_of: PrincipalOf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._settings = settings
        self._principal_of = principal_of
        self._clock = clock
        self._seen: dict[bytes, _Seen] = {}
        self._reviewing: dict[bytes, asyncio.Task[_Seen]] = {}

    async def identify(self, token: str) -> Principal:
        """Whom the token stands for; raises KeyInvalid, KeyExpired, or StageUnavailable when nobody can say."""
        digest = digest_of(token)
        seen = self._seen.get(digest)
        if seen is None or self._clock() >= seen.until:
            self._refuse_early(token)
            seen = await asyncio.shield(self._review(digest, token))
        account = None if seen.account is None else self._mapped(seen.account)
        if account is None:
            raise KeyInvalid("The token is not one that is accepted here.", param="Authorization")
        return await self._principal_of(account.tenant, Role(account.role), f"serviceaccount:{seen.account}")

    def _mapped(self, name: str) -> ServiceAccount | None:
        """What the settings say of an account; its own entry before its namespace's."""
        accounts = self._settings.service_accounts
        return accounts.get(name) or accounts.get(f"{name.partition(':')[0]}:*")

    def _refuse_early(self, token: str) -> None:
        claims = _claims(token)
        stated = claims.get("aud")
        audiences = stated if isinstance(stated, list) else [stated]
        if self._settings.service_account_audience not in audiences:
            raise KeyInvalid(
                f"The token is not bound to the audience {self._settings.service_account_audience!r}.",
                param="Authorization",
            )
        if _seconds_left(claims) <= 0:
            raise KeyExpired("The token has expired.", param="Authorization")

    def _review(self, digest: bytes, token: str) -> asyncio.Task[_Seen]:
        reviewing = self._reviewing.get(digest)
        if reviewing is None:
            reviewing = self._reviewing[digest] = asyncio.create_task(self._reviewed(digest, token))
            reviewing.add_done_callback(lambda done: self._done(digest, done))
        return reviewing

    def _done(self, digest: bytes, done: asyncio.Task[_Seen]) -> None:
        del self._reviewing[digest]
        if not done.cancelled() and (error := done.exception()):  # seen, should every caller have left
            logger.warning("a token could not be reviewed", extra={"error": type(error).__name__})

    async def _reviewed(self, digest: bytes, token: str) -> _Seen:
        asked_at = self._clock()
        status = await self._ask(token)
        account = _account(status, self._settings.service_account_audience)
        seconds = WRONG_SECONDS if account is None else min(BELIEVED_SECONDS, _seconds_left(_claims(token)))
        seen = _Seen(account, asked_at + seconds)
        self._seen.pop(digest, None)
        while len(self._seen) >= MAX_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._seen[digest] = seen
        return seen

    async def _ask(self, token: str) -> _Status:
        settings = self._settings
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [settings.service_account_audience]},
        }
        try:
            own = (await asyncio.to_thread(settings.kubernetes_token.read_text, "utf-8")).strip()  # it is renewed
            async with self._session.post(
                settings.kubernetes_url.rstrip("/") + PATH,
                json=body,
                headers={"Authorization": f"Bearer {own}"},
                timeout=aiohttp.ClientTimeout(total=REVIEW_SECONDS),
                allow_redirects=False,
            ) as answer:
                if answer.status not in (200, 201):
                    raise _unavailable(f"answered {answer.status}")
                return _Review.model_validate_json(await answer.read()).status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unavailable("cannot be asked") from error
        except ValidationError:  # not chained: it quotes the answer, which may quote the token
            raise _unavailable("answered what is no TokenReview") from None


@asynccontextmanager
async def open_service_accounts(settings: Settings, principal_of: PrincipalOf) -> AsyncIterator[ServiceAccounts | None]:
    """The reviewer of tokens, or None where the settings name no ServiceAccount; raises SystemExit without a CA."""
    if not settings.service_accounts:
        yield None
        return
    try:
        trusted = ssl.create_default_context(cafile=str(settings.kubernetes_ca))
    except OSError as error:
        raise SystemExit(f"BOWERBIRD_KUBERNETES_CA: {settings.kubernetes_ca} cannot be read.") from error
    # No trace of its own: the client's instrumentation is the stages'.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusted)) as session:
        yield ServiceAccounts(session, settings, principal_of)


def _account(status: _Status, audience: str) -> str | None:
    if not status.authenticated or audience not in status.audiences or not status.user.username.startswith(USER):
        return None
    return status.user.username.removeprefix(USER)


def _claims(token: str) -> Mapping[str, Any]:
    """What a token says of itself, unproven; nothing when it cannot be read."""
    payload = token.split(".")[1]
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _seconds_left(claims: Mapping[str, Any]) -> float:
    """Until the token expires, by this machine's clock; 0 when it does not say: a bound token always does."""
    expires = claims.get("exp")
    try:
        return float(expires) - time.time() if isinstance(expires, int | float) else 0.0
    except OverflowError:  # hundreds of digits say nothing either
        return 0.0


def _unavailable(fact: str) -> StageUnavailable:
    return StageUnavailable(
        f"Kubernetes' API server, which knows whose token it is, {fact}.", retry_after_seconds=RETRY_AFTER_SECONDS
    )
