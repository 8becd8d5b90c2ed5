"""A shell over one file tree: each command in a fresh sandbox, the folder it ends in kept for the next.

The tree is the sandbox's root, so `/site` is `/site` and `rm -r /site` works. Only files and the current folder
outlive a command: variables, functions, traps, aliases and background jobs do not.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from data.errors import BadInput, EnvironmentCrashed
from envs.bash_trees import Snapshot, Tree, lay_out, snapshot
from envs.sandbox import Limits, Mount, Slot, run

_PREFIX = "retro-dash-bash-"
_STALE_SECONDS = 3600
_MARK = "\x1e"
_TRAP = 'trap \'printf "\\036%s\\036" "$PWD"\' EXIT; '
_USERS = "daemon bin sys games man lp mail news uucp proxy www-data backup list irc nobody"
_GROUPS = (
    "daemon bin sys adm tty disk lp mail news uucp man proxy kmem dialout fax voice cdrom floppy tape sudo audio dip "
    "www-data backup operator list irc src shadow utmp video sasl plugdev staff games users nogroup"
)


@dataclass(frozen=True)
class Answer:
    """What a command printed (stdout and stderr as they came), and whether it ended well."""

    text: str
    status: int
    note: str = ""
    """Why the sandbox ended it, if it did."""


class Shell:
    """One copy of a tree. Runs as a user of its own that calls itself root."""

    def __init__(
        self, tree: Tree, slot: Slot, *, seconds: float, unsafe_run_model_code_on_host: bool = False
    ) -> None:
        self._slot = slot
        self._unsafe = unsafe_run_model_code_on_host
        self._limits = Limits(seconds=seconds)
        self._tops = tree.tops
        _sweep()
        try:
            self._home = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        except OSError as error:
            raise EnvironmentCrashed(f"There is no room for the trial's files: {error}.") from error
        self.root = self._home / "root"
        self.cwd = "/"
        try:
            self.root.mkdir()
            lay_out(tree, self.root, slot)
            self._mounts = [Mount(self.root, "/", is_writable=True), *self._etc()]
        except BaseException:
            self.close()
            raise
        self.start = self.look()

    def run(self, command: str) -> Answer:
        """Raises BadInput for a command that cannot be passed on (a NUL, too long), EnvironmentCrashed when the files
        are gone or no process can be started."""
        if not command.strip():
            raise BadInput("The command is empty; write one between the brackets.")
        # On the command's own first line, so that bash's messages count lines as people do.
        before = f"cd -- {shlex.quote(self._path(self.cwd))} 2>/dev/null; umask 022; {_TRAP}"
        if not self.root.is_dir():
            raise EnvironmentCrashed(f"The trial's files are gone: something removed {self.root}.")
        try:
            result = run(
                ["/usr/bin/bash", "-c", before + self._command(command), "/bin/bash"],
                mounts=self._mounts,
                cwd=self._path("/"),
                env={"HOME": self._path("/root"), "LANG": "C.UTF-8", "SHELL": "/bin/bash", "TERM": "dumb"},
                limits=self._limits,
                slot=self._slot,
                unsafe_run_model_code_on_host=self._unsafe,
            )
        except OSError as error:
            raise EnvironmentCrashed(f"The sandbox could not start a command: {error}.") from error
        text, cwd = _split(result.output)
        if cwd is not None:
            self.cwd = self._shown(cwd) or "/"
        note = ""
        if result.timed_out:
            note = f"Command timed out after {self._limits.seconds:g} seconds"
        elif result.is_truncated:
            note = f"Command ended: it printed more than {self._limits.output_bytes:,} bytes"
        elif result.is_over_limit:
            note = "Command ended: it used too much memory or disk"
        return Answer(self._shown(text), result.returncode, note)

    def look(self) -> Snapshot:
        return snapshot(self.root)

    def close(self) -> None:
        """Remove the copy, whatever the commands made of it; safe to call twice."""
        _remove(self._home)

    def _etc(self) -> list[Mount]:
        """A small /etc. The user calls itself root, as in InterCode's container, so that `ls -l` reads the same."""
        uid, gid = self._slot.uid, self._slot.gid
        groups = "".join(f"{name}:x:{index}:\n" for index, name in enumerate(_GROUPS.split(), start=1))
        users = "".join(
            f"{name}:x:{index}:{index}::/:/bin/sh\n" for index, name in enumerate(_USERS.split(), start=1)
        )
        files = {
            "passwd": f"root:x:{uid}:{gid}:root:/root:/bin/bash\nroot:x:0:0:root:/root:/bin/bash\n{users}",
            "group": f"root:x:{gid}:\n{groups}",
            "hosts": "127.0.0.1\tlocalhost\n127.0.1.1\tsandbox\n",
            "hostname": "sandbox\n",
        }
        folder = self._home / "etc"
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
        return [Mount(folder / name, f"/etc/{name}") for name in files]

    def _path(self, path: str) -> str:
        return f"{self.root}{path}" if self._unsafe else path

    def _command(self, command: str) -> str:
        """On the bare host the tree is not the root, so its folders are named where they are."""
        if not self._unsafe or not self._tops:
            return command
        tops = "|".join(re.escape(top) for top in self._tops)
        return re.sub(rf"(?<![\w./-])/(?=(?:{tops})\b)", f"{self.root}/", command)

    def _shown(self, text: str) -> str:
        return text.replace(str(self.root), "") if self._unsafe else text


def _remove(folder: Path) -> None:
    """`rm` and not shutil: a command may nest folders deeper than Python can follow."""
    if not folder.exists():
        return
    remove = ["rm", "-rf", "--", str(folder)]
    if subprocess.run(remove, stderr=subprocess.DEVNULL, check=False).returncode != 0:
        # Folders that their owner closed to itself, when we are that owner.
        subprocess.run(["chmod", "-R", "u+rwX", str(folder)], stderr=subprocess.DEVNULL, check=False)
        subprocess.run(remove, stderr=subprocess.DEVNULL, check=False)


@functools.cache
def _sweep() -> None:
    """Remove the copies of processes that were killed, an hour or more ago."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        pid = folder.name.removeprefix(_PREFIX).split("-")[0]
        with suppress(OSError):
            found = folder.stat(follow_symlinks=False)
            is_old = time.time() - found.st_mtime > _STALE_SECONDS
            if is_old and found.st_uid == os.geteuid() and pid.isdigit() and not Path("/proc", pid).exists():
                _remove(folder)


def _split(output: bytes) -> tuple[str, str | None]:
    """The command's output, and the folder that it ended in as the trap wrote it, None without it.

    A command may write such a mark itself: it then only moves its own shell.
    """
    text = output.decode("utf-8", "replace").replace("\0", "\ufffd")
    parts = text.rsplit(_MARK, 2)
    if len(parts) < 3:
        return text, None
    return parts[0] + parts[2], parts[1]
