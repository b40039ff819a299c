"""The group of all commands.

Each is imported when it is called, so that ``batchq --help`` and ``batchq copy`` don't pay
for the server's imports.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import Any, Final

import click

from batchq.cli import interrupt
from batchq.cli.allocator import keep_freed_memory
from batchq.cli.streams import StreamError, tell

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
        with interrupt.ending_at_once():
            command = getattr(import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{target} is not a command")
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Invokes the command; a ``KeyboardInterrupt`` gets past click, which would print more."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            tell(interrupt.TEXT)
            ctx.exit(interrupt.EXIT_CODE)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="batchq", prog_name="batchq")
def batchq() -> None:
    """Move data line by line between machines, through named queues over HTTP/2."""
    keep_freed_memory()


def run() -> int:
    """Runs what ``sys.argv`` asks for; gives the exit code. What is to be said has been said."""
    try:
        code = batchq.main(prog_name="batchq", standalone_mode=False)
    except click.Abort:
        tell(interrupt.TEXT)
        return interrupt.EXIT_CODE
    except click.ClickException as error:
        with suppress(OSError):
            error.show()
        return error.exit_code
    except StreamError as error:
        if str(error):
            tell(str(error))
        return error.exit_code
    except OSError as error:
        # The disk, the network, a limit of the system: no news of where in the code helps.
        where = "" if error.filename is None else f"{error.filename}: "
        tell(f"{where}{error.strerror or error}")
        return 1
    return code if isinstance(code, int) else 0
