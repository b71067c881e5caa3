"""Who asks, and what they may do: a credential becomes a principal, and every route asks the principal.

Read in this order:

    scopes.py            what may be done (scopes), and who may do what (roles)
    tiers.py             what a tenant may take: rates, units, size, share of the queue; read from a file
    principal.py         who asks: tenant, role, scopes, tier
    access_key.py        what a key looks like: recognisable, checkable without a look-up, kept as a digest only
    tables.py            tenants, keys, audit log
    audit_chain.py       what an entry of the audit log is, and how it holds on to the one before
    audit.py             every change, appended and chained, in the transaction that changes
    tenants.py           tenants as administrators see them
    keys.py              keys: issued, rotated with overlap, revoked; found by digest
    remembered.py        what a replica remembers of rows, and for how long
    known_keys.py        a key's digest, or a tenant, becomes a principal
    last_use.py          when each key was used last, written in groups
    configured.py        keys of the settings, and loopback, where everyone is `local`
    service_accounts.py  Kubernetes' tokens, by TokenReview
    identity.py          the credential of a request -> its principal
    opening.py           all of it, opened when the app starts

How often somebody may ask is `gateway/limits`; the door in front of every route, where both meet, is `api/guard.py`.
"""
