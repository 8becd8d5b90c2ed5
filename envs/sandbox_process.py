"""Starting a sandboxed process, and ending all of it."""

from __future__ import annotations

import ctypes
import functools
import json
import os
import resource
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from typing import IO

from data.errors import Unavailable
from envs import sandbox_cgroups, sandbox_seccomp
from envs.sandbox_bubblewrap import PATH, as_user, options, prepare_root, resource_limits
from envs.sandbox_types import Limits, Mount, Slot

_KILL_SECONDS = 2.0
_NICENESS = 5
_PR_SET_CHILD_SUBREAPER = 36
INSTALL = (
    "Install bubblewrap 0.8 or newer and util-linux (Debian, Ubuntu: `apt-get install bubblewrap`), and either allow "
    "user namespaces (`sysctl kernel.unprivileged_userns_clone=1`) or start as root with CAP_SYS_ADMIN"
)


class SandboxProcess:
    """A sandboxed process and everything it starts."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        inner_pid: int | None,
        group: sandbox_cgroups.Group | None,
        slot: Slot | None,
        errors: IO[bytes] | None,
    ) -> None:
        self.process = process
        self.inner_pid = inner_pid
        # A pid may be reused, a descriptor of the process may not.
        self._inner = None if inner_pid is None else os.pidfd_open(inner_pid)
        self.group = group
        self._slot = slot
        self._errors = errors
        self._lock = threading.Lock()
        self._is_closed = False

    @property
    def stdin(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def errors(self) -> str:
        """The last 4,000 bytes that it wrote to stderr; empty once killed."""
        if self._errors is None or self._errors.closed:
            return ""
        size = os.fstat(self._errors.fileno()).st_size
        return os.pread(self._errors.fileno(), 4000, max(0, size - 4000)).decode("utf-8", "replace")

    def kill(self) -> int:
        """End the whole tree, reap it, free its user and group; safe to call twice. Returns the exit status."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                if self.process.returncode is None or self._inner is not None:
                    self.end()
                for pipe in (self.process.stdin, self.process.stdout, self._errors):
                    if pipe is not None:
                        with suppress(OSError):
                            pipe.close()
                if self.group is not None:
                    self.group.remove()
                if self._slot is not None:
                    self._slot.close()
            return self.process.returncode

    def end(self) -> None:
        """Kill the sandbox's first process: the kernel ends all others with it. Reap it and bubblewrap, which may
        have gone first and left it to us."""
        with suppress(ProcessLookupError):
            if self._inner is None:
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                signal.pidfd_send_signal(self._inner, signal.SIGKILL)
        try:
            self.process.wait(_KILL_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self._inner is not None and self.inner_pid is not None:
            with suppress(ChildProcessError):
                os.waitpid(self.inner_pid, 0)
            os.close(self._inner)
            self._inner = None


def launch(
    argv: Sequence[str],
    mounts: Sequence[Mount],
    cwd: str,
    env: Mapping[str, str],
    limits: Limits,
    slot: Slot,
    *,
    is_long_lived: bool,
    has_stdin: bool,
) -> SandboxProcess:
    """Start `argv` in bubblewrap. A long-lived process keeps its stderr apart, owns the slot, and has no CPU limit.

    bubblewrap waits at `block-fd` until its child is limited, so nothing runs without limits.
    """
    _adopt_orphans()
    for mount in mounts:
        if mount.target == "/" and mount.is_writable:
            prepare_root(mount.source)
    group = sandbox_cgroups.make(limits.memory_bytes, limits.processes)
    errors = tempfile.TemporaryFile() if is_long_lived else None  # noqa: SIM115 (closed by kill)
    try:
        return _start_inside(argv, mounts, cwd, env, limits, slot, group, errors, has_stdin or is_long_lived)
    except BaseException:
        if group is not None:
            group.remove()
        if errors is not None:
            errors.close()
        raise


def _start_inside(
    argv: Sequence[str],
    mounts: Sequence[Mount],
    cwd: str,
    env: Mapping[str, str],
    limits: Limits,
    slot: Slot,
    group: sandbox_cgroups.Group | None,
    errors: IO[bytes] | None,
    has_stdin: bool,
) -> SandboxProcess:
    with ExitStack() as stack:
        info_read, info_write = _pipe(stack)
        block_read, block_write = _pipe(stack)
        descriptors = {"info-fd": info_write.fileno(), "block-fd": block_read.fileno()}
        filter_program = sandbox_seccomp.program()
        if filter_program is not None:
            descriptors["seccomp"] = _memory_file(stack, filter_program).fileno()
        settings = _memory_file(stack, options(mounts, cwd, env, limits, descriptors)).fileno()
        words = ["bwrap", "--args", str(settings), "--", *as_user(argv, slot)]
        with nullcontext() if group is None else group.around():
            process = _start(words, errors, has_stdin, (*descriptors.values(), settings))
        info_write.close()
        inner_pid = _inner_pid(info_read)
        child = SandboxProcess(process, inner_pid, group, slot if errors is not None else None, errors)
        if inner_pid is not None:
            try:
                if group is not None:
                    group.add(inner_pid)
                for name, value in resource_limits(limits, has_cpu_limit=errors is None).items():
                    resource.prlimit(inner_pid, getattr(resource, f"RLIMIT_{name.upper()}"), (value, value))
                current = os.getpriority(os.PRIO_PROCESS, inner_pid)
                os.setpriority(os.PRIO_PROCESS, inner_pid, max(current, _NICENESS))
            except OSError:
                child.kill()
                raise
            block_write.write(b"1")
        return child


def launch_on_host(
    argv: Sequence[str], cwd: str, env: Mapping[str, str], limits: Limits, *, is_long_lived: bool, has_stdin: bool
) -> SandboxProcess:
    """The unsafe way: only resource limits and a clock."""
    errors = tempfile.TemporaryFile() if is_long_lived else None  # noqa: SIM115 (closed by kill)
    bounds = resource_limits(limits, has_cpu_limit=not is_long_lived)
    words = ["/usr/bin/prlimit", *(f"--{name}={value}" for name, value in bounds.items()), *argv]
    process = _start(words, errors, has_stdin or is_long_lived, (), cwd=cwd, env={"PATH": PATH, **env})
    return SandboxProcess(process, None, None, None, errors)


@functools.cache
def _adopt_orphans() -> None:
    """Become the parent of what bubblewrap leaves behind, so that we can reap it: not every PID 1 does."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _pipe(stack: ExitStack) -> tuple[IO[bytes], IO[bytes]]:
    read, write = os.pipe()
    return stack.enter_context(open(read, "rb", 0)), stack.enter_context(open(write, "wb", 0))


def _memory_file(stack: ExitStack, content: bytes) -> IO[bytes]:
    """A file in memory that holds `content`, to be read from its start."""
    file = stack.enter_context(os.fdopen(os.memfd_create("sandbox"), "w+b", 0))
    file.write(content)
    file.seek(0)
    return file


def _start(
    words: Sequence[str],
    errors: IO[bytes] | None,
    has_stdin: bool,
    descriptors: tuple[int, ...],
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            words,
            stdin=subprocess.PIPE if has_stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if errors is None else errors,
            pass_fds=descriptors,
            cwd=cwd,
            env=env,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise Unavailable(f"The sandbox's programs are missing ({error.filename}). {INSTALL}.") from error


def _inner_pid(info: IO[bytes]) -> int | None:
    """The pid, as we see it, of the sandbox's first process; None when bubblewrap gave up before making one."""
    written = b""
    while chunk := info.read(4096):
        written += chunk
        if b"}" in chunk:
            break
    try:
        return int(json.loads(written)["child-pid"])
    except (ValueError, KeyError):
        return None
