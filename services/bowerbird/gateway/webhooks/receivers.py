"""Which URLs may be named as receivers: what can be refused before anybody connects to them.

It is told early, as a favour; what protects us is looked at when a connection is made (`addresses`). The URL is read by
the parser that sends (yarl, aiohttp's own), so that both mean the same host.
"""

from __future__ import annotations

from ipaddress import ip_address

from yarl import URL

from bowerbird.errors import RequestInvalid
from bowerbird.gateway.webhooks.addresses import ReachableAddresses

MAX_URL_CHARACTERS = 2048


def check_url(stated: str, addresses: ReachableAddresses, plain_http: bool) -> None:
    """Raises RequestInvalid where nothing could or may be sent; the URL, which may hold a token, is not shown."""
    if objection := _objection(stated, addresses, plain_http):
        schemes = "https:// or http://" if plain_http else "https://"
        raise RequestInvalid(f"url: {objection}. Accepted: {schemes}host[:port]/path, a public host.", param="url")


def _objection(stated: str, addresses: ReachableAddresses, plain_http: bool) -> str | None:
    if len(stated) > MAX_URL_CHARACTERS or not (stated.isascii() and stated.isprintable() and " " not in stated):
        return f"more than {MAX_URL_CHARACTERS} characters, or one that no URL has"
    try:
        url = URL(stated)
        host, port = url.host, url.port
    except (ValueError, IndexError):  # yarl raises the latter at `https://[::]@`, which the fuzzer found
        return "this is no URL"
    objections = {
        "the scheme is not one that webhooks are sent by": url.scheme not in ("https", *["http"] * plain_http),
        "there is no host, or no port that could be connected to": not host or not port,
        "user, password and fragment are not sent": url.user is not None or url.password is not None or "#" in stated,
        "the address is not a public one": _is_address(host or "") and not addresses.allows(host or ""),
    }
    return next((objection for objection, applies in objections.items() if applies), None)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
