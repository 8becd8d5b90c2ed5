"""Runs commands that a model wrote where they can harm nothing: bubblewrap, an own user, limits, no network.

    result = run(["/usr/bin/bash", "-c", "ls"], mounts=[Mount(tree, "/work")], cwd="/work")

Inside there is a read-only /usr, a private /tmp, what `mounts` names, and nothing else of this machine: no home, no
environment, no other processes, no network. Started as root, each slot gets a uid of its own (process limits count
per uid) and no user namespace is needed; started as anybody else, a user namespace is. Where the sandbox cannot work
`run` and `spawn` raise Unavailable; they never fall back on the bare host by themselves.
"""

from __future__ import annotations

import functools
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from data.errors import BadInput, Refused, Unavailable
from envs import sandbox_cgroups, sandbox_seccomp
from envs.base import Availability
from envs.sandbox_process import INSTALL, SandboxProcess, launch, launch_on_host
from envs.sandbox_types import Limits, Mount, SandboxResult, Slot
from envs.sandbox_watch import attend, is_over

__all__ = [
    "Limits",
    "Mount",
    "SandboxProcess",
    "SandboxResult",
    "Slot",
    "probe",
    "python_mounts",
    "refuse_unpassable",
    "require",
    "run",
    "spawn",
    "take_slot",
]

UNSAFE_FLAG = "--unsafe-run-model-code-on-host"
UNSAFE_OPTION = "unsafe_run_model_code_on_host"
"""The flag as an option of environments, recorded in every episode that was played with it."""
_FIRST_UID = 60_500  # between ordinary users and those that systemd hands out
_SLOTS = 512
_LONGEST_ARGUMENT = 120_000  # the kernel takes 128 KiB an argument


def run(
    argv: Sequence[str],
    *,
    mounts: Sequence[Mount] = (),
    cwd: str = "/",
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    limits: Limits = Limits(),  # noqa: B008 (frozen)
    slot: Slot | None = None,
    unsafe_run_model_code_on_host: bool = False,
) -> SandboxResult:
    """Run `argv` to its end or its limits; nothing that it started outlives the call.

    `env` is the whole environment but for PATH. Writable mounts must belong to `slot` (see `Slot.own`). Raises
    Unavailable where the sandbox does not work, BadInput for an argument with a NUL or a mount that is not there,
    Refused when root asks for the host.
    """
    started = time.monotonic()
    settings = dict(env or {})
    _check(argv, mounts, settings)
    own = slot or take_slot()
    try:
        if unsafe_run_model_code_on_host:
            _refuse_root()
            child = launch_on_host(argv, cwd, settings, limits, is_long_lived=False, has_stdin=bool(stdin))
        else:
            require()
            child = launch(argv, mounts, cwd, settings, limits, own, is_long_lived=False, has_stdin=bool(stdin))
        try:
            watched = [mount.source for mount in mounts if mount.is_writable]
            return attend(child, stdin, limits, functools.partial(is_over, child, limits, watched), started)
        finally:
            child.kill()
    finally:
        if slot is None:
            own.close()


def spawn(
    argv: Sequence[str],
    *,
    mounts: Sequence[Mount] = (),
    cwd: str = "/",
    env: Mapping[str, str] | None = None,
    limits: Limits = Limits(),  # noqa: B008 (frozen)
    unsafe_run_model_code_on_host: bool = False,
) -> SandboxProcess:
    """Start `argv` and leave it running, with pipes to its stdin and stdout. It dies with this process at the latest.

    The caller keeps the clock and calls `kill`; `limits.seconds`, `output_bytes` and the watch over writable mounts
    are not used. Raises as `run` does.
    """
    settings = dict(env or {})
    _check(argv, mounts, settings)
    if unsafe_run_model_code_on_host:
        _refuse_root()
        return launch_on_host(argv, cwd, settings, limits, is_long_lived=True, has_stdin=True)
    require()
    slot = take_slot()
    try:
        # "Die with parent" means the thread that started it, so that must be one that lives as long as we do.
        return (
            _launcher()
            .submit(launch, argv, mounts, cwd, settings, limits, slot, is_long_lived=True, has_stdin=True)
            .result()
        )
    except BaseException:
        slot.close()
        raise


def take_slot() -> Slot:
    """A uid that no other sandbox on this machine is using; our own when not started as root. Raises Refused when
    all are taken.

    An abstract Unix socket name is the claim: one holder across processes, and free again when the holder dies.
    """
    if os.geteuid() != 0:
        return Slot(os.geteuid(), os.getegid())
    for uid in range(_FIRST_UID, _FIRST_UID + _SLOTS):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0retro-dash-sandbox-{uid}")
        except OSError:
            claim.close()
            continue
        return Slot(uid, uid, claim)
    raise Refused(f"All {_SLOTS} sandbox users are taken; wait for a trial to end or stop another run.")


def python_mounts() -> tuple[Mount, ...]:
    """What a sandboxed `sys.executable` needs to start and import what is installed here, read-only."""
    prefixes = {Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix)}
    return tuple(Mount(prefix, str(prefix)) for prefix in sorted(prefixes) if not prefix.is_relative_to("/usr"))


@functools.cache
def probe() -> Availability:
    """Whether the sandbox works here, found by using it: `true`, a blocked write, a blocked connection, a hidden
    file of the host. Looked at once for the life of the process."""
    missing = [name for name in ("bwrap", "setpriv") if shutil.which(name) is None]
    if missing:
        return Availability(False, f"No sandbox: {', '.join(missing)} not found. {INSTALL}.")
    with tempfile.NamedTemporaryFile() as secret, socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        tests = {
            "run a command": "true",
            "refuse a write to /usr": "! touch /usr/retro-dash-probe",
            "hide a file of the host": f"test ! -e {secret.name}",
            "refuse a connection": f"! (exec 3<>/dev/tcp/127.0.0.1/{port})",
        }
        for deed, script in tests.items():
            found = _try(script)
            if found is not None:
                return Availability(False, f"No sandbox: it could not {deed} ({found}). {INSTALL}.")
    parts = ["bubblewrap", "an own uid per slot" if os.geteuid() == 0 else "a user namespace"]
    parts.append("system-call filter" if sandbox_seccomp.program() is not None else "no system-call filter")
    groups = sandbox_cgroups.version()
    parts.append("no control groups, a watchdog instead" if groups == "none" else f"control groups {groups}")
    return Availability(True, ", ".join(parts))


def _try(script: str) -> str | None:
    """None when the script succeeds in the sandbox, else what it said."""
    limits = Limits(seconds=5)
    try:
        with take_slot() as slot:
            argv = ("/usr/bin/bash", "-c", script)
            started = time.monotonic()
            child = launch(argv, (), "/", {}, limits, slot, is_long_lived=False, has_stdin=False)
            try:
                result = attend(child, b"", limits, functools.partial(is_over, child, limits, ()), started)
            finally:
                child.kill()
    except (OSError, Unavailable) as error:
        return str(error)
    said = " ".join(result.output.decode("utf-8", "replace").split())
    return None if result.returncode == 0 else said[:200] or f"exit status {result.returncode}"


def require() -> None:
    """Raises Unavailable, with what to do about it, where the sandbox does not work."""
    found = probe()
    if not found.works:
        raise Unavailable(f"{found.detail} The only other way is {UNSAFE_FLAG}, which protects nothing.")


def _refuse_root() -> None:
    if os.geteuid() == 0:
        raise Refused(f"{UNSAFE_FLAG} is refused for root: model-written commands would own this machine.")


def refuse_unpassable(words: Iterable[str]) -> None:
    """Raises BadInput for a word that no program can be given: with a NUL, half of a character pair, too long."""
    for text in words:
        if "\0" in text:
            raise BadInput("A command cannot hold a NUL character; leave it out.")
        try:
            length = len(os.fsencode(text))
        except UnicodeEncodeError as error:
            raise BadInput("The command holds half of a character pair; write it as UTF-8 text.") from error
        if length > _LONGEST_ARGUMENT:
            raise BadInput(f"The command is longer than {_LONGEST_ARGUMENT:,} bytes; shorten it.")


def _check(argv: Sequence[str], mounts: Sequence[Mount], env: Mapping[str, str]) -> None:
    refuse_unpassable((*argv, *env, *env.values()))
    for mount in mounts:
        if not mount.source.exists():
            raise BadInput(f"{mount.source} is not there, so it cannot be shown in the sandbox as {mount.target}.")


@functools.cache
def _launcher() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox-launcher")
