"""What a Redis promises, in a sentence."""

from __future__ import annotations

from collections.abc import Mapping


def describe(settings: Mapping[str, str] | None) -> str:
    """Tells what a push that returned survives.

    Args:
        settings: ``appendonly``, ``appendfsync`` and ``save`` as Redis tells them, or None
            where they are not known.
    """
    always = "queues are in Redis: a batchq server killed loses nothing"
    failover = "a failover may lose what was not replicated"
    if settings is None:
        return f"{always}; what Redis itself survives is not known, as it does not tell"
    if settings.get("appendonly") == "yes":
        kept = {
            "always": "it syncs its log before it answers",
            "everysec": "it syncs its log once a second, and a power loss may take the last of it",
        }.get(settings.get("appendfsync", ""), "when its log is synced is up to the system")
    elif settings.get("save"):
        kept = "it keeps snapshots only, and its end may take all since the last"
    else:
        kept = "it keeps nothing on disk, and its end takes everything"
    return f"{always}; {kept}; {failover}"
