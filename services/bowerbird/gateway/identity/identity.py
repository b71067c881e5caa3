"""The credential of a request becomes a principal.

    bb_…           a key of ours: remembered, else found by its digest (`known_keys`)
    eyJ….….…       a ServiceAccount's token, where accounts are configured (`service_accounts`)
    anything else  a key of the settings; on loopback, where nothing is configured, everyone is `local` (`configured`)

A credential that looks like ours is taken at its word, on loopback too: who shows a key that was revoked is not let in
as somebody else.
"""

from __future__ import annotations

from bowerbird.errors import KeyInvalid
from bowerbird.gateway.identity.access_key import MARK, digest_of, is_key
from bowerbird.gateway.identity.configured import ConfiguredKeys
from bowerbird.gateway.identity.known_keys import KnownKeys, unknown_key
from bowerbird.gateway.identity.last_use import LastUse
from bowerbird.gateway.identity.principal import Principal
from bowerbird.gateway.identity.scopes import Role
from bowerbird.gateway.identity.service_accounts import ServiceAccounts, looks_like_token

MAX_CREDENTIAL_CHARACTERS = 16_384


class Identity:
    """Says who asks."""

    def __init__(
        self, configured: ConfiguredKeys, known: KnownKeys, last_use: LastUse, accounts: ServiceAccounts | None
    ) -> None:
        self._configured = configured
        self._known = known
        self._last_use = last_use
        self._accounts = accounts

    def configure(self, configured: ConfiguredKeys) -> None:
        """From now on these are the keys of the settings."""
        self._configured = configured

    async def of_tenant(self, tenant: str) -> Principal:
        """Somebody of this tenant, for work that it had accepted before; raises TenantDisabled, also where none is."""
        if found := self._configured.of_tenant(tenant):
            return found
        return await self._known.of_tenant(tenant, Role.TENANT, "accepted")

    def at_once(self, authorization: str | None) -> Principal | None:
        """What `identify` says, where it asks nobody and nothing speaks against it; else None, and it says more."""
        credential = _credential(authorization)
        if credential.startswith(MARK):
            known = self._known.at_once(digest_of(credential))
            if known is None:
                return None
            self._last_use.note(known[0])
            return known[1]
        if self._configured.local is not None:
            return self._configured.local
        if not credential or len(credential) > MAX_CREDENTIAL_CHARACTERS:
            return None
        return self._configured.find(digest_of(credential))

    async def identify(self, authorization: str | None) -> Principal:
        """Whom an `Authorization` header stands for.

        Raises KeyInvalid, KeyExpired, KeyRevoked or TenantDisabled; StageUnavailable when nobody can say.
        """
        credential = _credential(authorization)
        if credential.startswith(MARK):
            digest = digest_of(credential)
            if self._known.remembers(digest) or is_key(credential):  # the checksum costs more than all the rest
                key_id, principal = await self._known.identify(digest)
                self._last_use.note(key_id)
                return principal
        if self._configured.local is not None:
            return self._configured.local
        if not credential:
            raise KeyInvalid("A key is needed: send 'Authorization: Bearer <key>'.", param="Authorization")
        if len(credential) > MAX_CREDENTIAL_CHARACTERS:
            raise unknown_key()
        if found := self._configured.find(digest_of(credential)):
            return found
        if self._accounts is not None and looks_like_token(credential):
            return await self._accounts.identify(credential)
        raise unknown_key()


def _credential(authorization: str | None) -> str:
    scheme, _, rest = (authorization or "").partition(" ")
    return rest.strip() if scheme == "Bearer" or scheme.lower() == "bearer" else ""
