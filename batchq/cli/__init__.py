"""The ``batchq`` command: flags in, exit codes out.

Subcommands are imported when they are called, so that ``batchq --help`` and
``batchq copy`` don't pay for the server's imports.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

from batchq.cli.allocator import keep_freed_memory

_COMMANDS: Final = {
    "server": "batchq.cli.server:server",
    "copy": "batchq.cli.copy:copy",
    "write": "batchq.cli.copy:write",
    "read": "batchq.cli.copy:read",
    "store": "batchq.cli.store:store",
    "generate": "batchq.cli.generate:generate",
    "bench": "batchq.cli.bench:bench",
    "haproxy": "batchq.cli.haproxy:haproxy",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        target = _COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        command = getattr(import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{target} is not a command")
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="batchq", prog_name="batchq")
def main() -> None:
    """Move data line by line between machines, through named queues over HTTP/2."""
    keep_freed_memory()
