"""What `deploy/` holds is what it says: generated, taken by the programs, and run."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from support.copies import environment
from support.haproxy import checked, wait_until
from support.ports import free_port

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "batchq@.service"


def test_the_configurations_are_what_the_commands_write(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    (commands,) = re.findall(r"```sh\n(.*?)```", (DEPLOY / "README.md").read_text(), re.DOTALL)
    bin_ = Path(sys.executable).parent
    subprocess.run(
        ["bash", "-e", "-c", commands],
        cwd=tmp_path,
        env=environment({"PATH": f"{bin_}:{os.environ['PATH']}"}),
        timeout=60,
        check=True,
    )
    for name in ("haproxy.cfg", "compose.cfg"):
        written = tmp_path / "deploy" / name
        assert written.read_text() == (DEPLOY / name).read_text()
        done = checked(written)
        assert done.returncode == 0, done.stderr
    compose = (DEPLOY / "compose.yaml").read_text()
    services = re.findall(r"^  (shard-\w+):$", compose, re.MULTILINE)
    servers = re.findall(r"server (\w+) (\S+):8080 ", (DEPLOY / "compose.cfg").read_text())
    assert {host for _, host in servers} == set(services)
    assert "./compose.cfg:/usr/local/etc/haproxy/haproxy.cfg:ro" in compose


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    installed = UNIT.read_text().replace("/usr/local/bin/batchq", "/bin/true")
    unit = tmp_path / "batchq@.service"
    unit.write_text(installed)
    instance = tmp_path / "batchq@0.service"
    instance.symlink_to(unit)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(instance)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("instance", ["0"])
def test_the_unit_s_command_serves_on_its_core(tmp_path: Path, instance: str) -> None:
    unit = UNIT.read_text().replace("%i", instance).replace("%S", str(tmp_path))
    settings = dict(
        line.partition("=")[::2] for line in unit.splitlines() if line and line[0].isalpha()
    )
    (tmp_path / settings["StateDirectory"]).mkdir(parents=True)
    name, _, port = settings["Environment"].partition("=")
    assert (name, port) == ("BATCHQ_PORT", "8100")
    command = shlex.split(settings["ExecStart"])
    assert command[0].endswith("/batchq")
    own = str(free_port())  # the unit's own may be in use here
    server = subprocess.Popen(
        ["taskset", "--cpu-list", settings["CPUAffinity"], sys.executable, "-m", "batchq",
         *command[1:]],
        env=environment({name: own}),
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:

        def ready() -> bool:
            try:
                return httpx.get(f"http://127.0.0.1:{own}/readyz").status_code == 200
            except httpx.TransportError:
                return False

        wait_until(ready)
        assert os.sched_getaffinity(server.pid) == {0}
        health = json.loads(httpx.get(f"http://127.0.0.1:{own}/healthz").text)
        assert health["level"] == "disk"
        assert (tmp_path / "batchq" / instance / "queues.sqlite").exists()
    finally:
        server.terminate()
        assert server.wait(20) == 0
