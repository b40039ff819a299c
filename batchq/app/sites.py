"""Which site a browser asks on behalf of (cross-site request forgery)."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from batchq.app.parameters import shown
from batchq.errors import CrossSite

_FOREIGN: Final = frozenset(("cross-site", "same-site"))


def check_site(fetch_site: str, origin: str, host: str) -> None:
    """Refuses what a browser asks on behalf of another site.

    ``Sec-Fetch-Site`` is what today's browsers tell, and no page can change it (W3C Fetch
    Metadata); ``Origin`` (RFC 6454) is what older ones tell with a POST.

    Args:
        fetch_site: the value of ``Sec-Fetch-Site``, or an empty string.
        origin: the value of ``Origin``, or an empty string.
        host: the host that was asked, with its port.

    Raises:
        CrossSite: it is another site's wish.
    """
    if fetch_site and fetch_site.strip().lower() in _FOREIGN:
        raise CrossSite("another site's page may not do this: open the server's own address")
    if origin and not _same(origin, host):
        raise CrossSite(f"a page of {shown(origin)} may not do this")


def _same(origin: str, host: str) -> bool:
    try:
        netloc = urlsplit(origin).netloc
    except ValueError:
        return False
    return bool(netloc) and netloc.lower() == host.lower()
