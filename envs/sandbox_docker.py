"""The sandbox's other form: a container of a Docker daemon, driven by the `docker` command line.

    with Container("debian:12-slim", files, slot, Limits(seconds=5)) as container:
        result = container.run("echo hello > /work/new")

Each `run` starts the container and ends with it, so files stay and processes do not. The container has no network and
no mount. Commands run as the slot's user without any capability; he owns what `files` says he does, a tar archive
that is laid over the image's root. An image must be on the daemon already: nothing is pulled in a trial.
"""

from __future__ import annotations

import functools
import json
import math
import os
import re
import selectors
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO

from data.errors import EnvironmentCrashed, Unavailable
from envs.base import Availability
from envs.sandbox_bubblewrap import OPEN_FILES, PATH
from envs.sandbox_process import SandboxProcess
from envs.sandbox_types import Limits, SandboxResult, Slot
from envs.sandbox_watch import attend

INSTALL = "Install Docker, start its daemon, and give this user access to it (or set DOCKER_HOST)"
_LABEL = "retro-dash.owner"
_FIRST = ("version", "ps", "create")
"""Calls before a trial has a container; what fails later is a trial that broke."""
_CALL_SECONDS = 60
_START_SECONDS = 60
_PROBE_SECONDS = 5
_SIZE_SECONDS = 0.3
_SCRIPT_BYTES = 1 << 20
# The container's root, who owns its programs, makes "/" a folder like /tmp (everybody may put things there, nobody
# may remove another's) and becomes the slot's user for good. One byte says that the container runs: the command's
# clock starts there. The first process is docker's `--init`, so that `kill -9 $$` ends the command as in any shell.
_ENTRY = """chmod 1777 /; script=$(cat); exec 2>&1 </dev/null; printf .
exec /usr/bin/setpriv --reuid={uid} --regid={gid} --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs \\
    /usr/bin/env -i "$@" /bin/bash -c "$script" /bin/bash"""


class Container:
    """One container that keeps its files from command to command."""

    def __init__(
        self, image: str, files: bytes, slot: Slot, limits: Limits, env: Mapping[str, str] | None = None
    ) -> None:
        """Raises Unavailable without a daemon or the image, EnvironmentCrashed when the container does not start (an
        image without bash and coreutils, say)."""
        _sweep()
        self._limits = limits
        self._next_look = 0.0
        self._id = ""
        words = {"PATH": PATH, **(env or {})}
        settings = [f"{name}={value}" for name, value in words.items()]
        entry = _ENTRY.format(uid=slot.uid, gid=slot.gid)
        command = ["--entrypoint", "/bin/bash", "--", image, "-c", entry, "bash", *settings]
        self._id = _docker("create", *_walls(limits), *command).decode().strip()
        try:
            _docker("cp", "-", f"{self._id}:/", stdin=files)
            self._names = self._list_root()
        except BaseException:
            self.close()
            raise

    def run(self, script: str) -> SandboxResult:
        """Run `script` with bash to its end or its limits. Raises EnvironmentCrashed when the container is gone."""
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                ["docker", "start", "--attach", "--interactive", self._id],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                pipesize=_SCRIPT_BYTES,
                start_new_session=True,
            )
            child = _Attached(process, errors, self._id)
            try:
                _begin(child, script)
                result = attend(child, b"", self._limits, self._is_full, time.monotonic())
            finally:
                child.kill()
        return self._ended(result)

    def _list_root(self) -> frozenset[str]:
        listing = self.run("cd /; printf '%s\\n' * .[!.]*")
        text = listing.output.decode("utf-8", "surrogateescape")
        if listing.returncode != 0:
            raise EnvironmentCrashed(
                f"The image cannot be used, it needs bash, coreutils and setpriv: {_short(text)}."
            )
        return frozenset(text.splitlines())

    def top_names(self) -> frozenset[str]:
        """Names under the root: those of the image and those that the daemon lists as changed, of which some may be
        gone again, or half of a name with a line end."""
        changes = _docker("diff", self._id).decode("utf-8", "surrogateescape")
        return self._names | set(re.findall(r"^[ACD] /([^/\n]+)", changes, re.MULTILINE))

    @contextmanager
    def archive(self, path: str) -> Iterator[IO[bytes]]:
        """A file or folder of the container as a tar stream, empty when it is not there. Raises EnvironmentCrashed
        when it cannot be read."""
        words = ["docker", "cp", f"{self._id}:{path}", "-"]
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors)
            assert process.stdout is not None
            try:
                yield process.stdout
            finally:
                process.stdout.close()
                process.wait()
            errors.seek(0)
            said = _short(errors.read().decode("utf-8", "replace"))
        # A reader may stop at the end of the archive or when it has seen enough.
        if said and "Could not find the file" not in said and "broken pipe" not in said:
            raise EnvironmentCrashed(f"The trial's files cannot be read: {said}.")

    def close(self) -> None:
        """Remove the container and its files; safe to call twice."""
        if self._id:
            with suppress(EnvironmentCrashed, Unavailable):
                _docker("rm", "--force", "--volumes", self._id)
            self._id = ""

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _is_full(self) -> bool:
        """Whether the container wrote more than it may; asked of the daemon, so not too often."""
        if time.monotonic() < self._next_look:
            return False
        size = int(_docker("container", "inspect", "--size", "--format", "{{.SizeRw}}", self._id))
        self._next_look = time.monotonic() + _SIZE_SECONDS
        return size > self._limits.scratch_bytes

    def _ended(self, result: SandboxResult) -> SandboxResult:
        """`result` with what only the daemon knows: the exit status and whether memory ran out."""
        state = json.loads(_docker("container", "inspect", "--format", "{{json .State}}", self._id))
        return SandboxResult(
            output=result.output,
            returncode=state["ExitCode"],
            timed_out=result.timed_out,
            is_truncated=result.is_truncated,
            seconds=result.seconds,
            is_over_limit=result.is_over_limit or state["OOMKilled"],
        )


class _Attached(SandboxProcess):
    """The command line that passes on what a running container says."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes], container: str) -> None:
        super().__init__(process, None, None, None, errors)
        self._container = container

    def end(self) -> None:
        """Let go of the output, for which the daemon would wait, then kill the container's first process: the kernel
        ends all others with it."""
        if self.is_alive():
            super().end()
            with suppress(EnvironmentCrashed, Unavailable):
                _docker("kill", self._container)


@functools.cache
def probe() -> Availability:
    """Whether a Docker daemon answers. Looked at once for the life of the process."""
    if shutil.which("docker") is None:
        return Availability(False, f"Optional and not here: the program docker was not found. {INSTALL}.")
    try:
        answer = _docker("version", "--format", "{{.Server.Version}} {{.Server.Os}}", seconds=_PROBE_SECONDS)
    except (EnvironmentCrashed, Unavailable) as error:
        return Availability(False, f"Optional and not here: {error}")
    return Availability(True, f"Docker {answer.decode().strip()}")


def _walls(limits: Limits) -> list[str]:
    bounds = {
        "cpu": math.ceil(limits.seconds) + 1,
        "fsize": limits.file_bytes,
        "nofile": OPEN_FILES,
        "core": 0,
    }
    words = [
        "--init",
        "--interactive",
        "--pull",
        "never",
        "--label",
        f"{_LABEL}={socket.gethostname()}/{os.getpid()}",
    ]
    words += ["--network", "none", "--hostname", "sandbox", "--user", "0:0", "--workdir", "/"]
    words += ["--cap-drop", "ALL", "--cap-add", "SETUID", "--cap-add", "SETGID", "--cap-add", "SETPCAP"]
    words += [
        "--security-opt",
        "no-new-privileges",
        "--log-driver",
        "none",
        "--no-healthcheck",
    ]
    words += ["--memory", str(limits.memory_bytes), "--memory-swap", str(limits.memory_bytes)]
    words += ["--pids-limit", str(limits.processes), "--shm-size", str(limits.scratch_bytes)]
    return words + [word for name, value in bounds.items() for word in ("--ulimit", f"{name}={value}")]


def _begin(child: _Attached, script: str) -> None:
    """Hand the script over and wait until the container runs. The pipe holds all of the script, so that writing it
    does not wait for a daemon that hangs."""
    with suppress(BrokenPipeError):
        child.stdin.write(os.fsencode(script))
        child.stdin.close()
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        first = os.read(child.stdout.fileno(), 1) if selector.select(_START_SECONDS) else b""
    if first != b".":
        with suppress(subprocess.TimeoutExpired):
            child.process.wait(_PROBE_SECONDS)
        said = _short(child.errors()) or f"it did not start within {_START_SECONDS} seconds"
        raise EnvironmentCrashed(
            f"The trial's container did not run a command (its image needs bash, cat, env): {said}"
        )


def _docker(*words: str, stdin: bytes = b"", seconds: float = _CALL_SECONDS) -> bytes:
    """What `docker WORDS` prints. Raises Unavailable without Docker, its daemon or the image, else EnvironmentCrashed
    with what it said."""
    try:
        done = subprocess.run(["docker", *words], input=stdin, capture_output=True, timeout=seconds, check=False)
    except FileNotFoundError as error:
        raise Unavailable(f"The program docker was not found. {INSTALL}.") from error
    except subprocess.TimeoutExpired as error:
        kind = Unavailable if words[0] in _FIRST else EnvironmentCrashed
        raise kind(f"The Docker daemon did not answer within {seconds:g} seconds. {INSTALL}.") from error
    if done.returncode == 0:
        return done.stdout
    said = _short(done.stderr.decode("utf-8", "replace"))
    if words[0] in _FIRST and "daemon" in said and ("connect" in said or "permission denied" in said):
        raise Unavailable(f"No Docker daemon answers ({said}). {INSTALL}.")
    if words[0] == "create" and "No such image" in said:
        raise Unavailable(f"The Docker daemon lacks the image ({said}); `docker pull` or `docker import` it first.")
    raise EnvironmentCrashed(f"docker {words[0]} failed: {said}.")


def _short(text: str) -> str:
    return " ".join(text.split())[:300].removeprefix("Error response from daemon: ").rstrip(".")


@functools.cache
def _sweep() -> None:
    """Remove the containers of processes of this machine that were killed."""
    form = '{{.ID}} {{.Label "' + _LABEL + '"}}'
    for line in _docker("ps", "--all", "--filter", f"label={_LABEL}", "--format", form).decode().splitlines():
        container, owner = line.split(" ", 1)
        host, _, pid = owner.rpartition("/")
        if host == socket.gethostname() and not os.path.exists(f"/proc/{pid}"):
            with suppress(EnvironmentCrashed, Unavailable):
                _docker("rm", "--force", "--volumes", container)
