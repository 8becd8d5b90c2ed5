"""A shell over one copy of a file tree: each command has processes of its own, the folder it ends in is kept.

The tree is the root that a command sees, so `/site` is `/site` and `rm -r /site` works. Only files and the current
folder outlive a command: variables, functions, traps, aliases and background jobs do not.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from data.errors import BadInput
from envs.bash_trees import Snapshot
from envs.sandbox_types import Limits, SandboxResult, Slot

_MARK = "\x1e"
_TRAP = 'trap \'printf "\\036%s\\036" "$PWD"\' EXIT; '
_USERS = "daemon bin sys games man lp mail news uucp proxy www-data backup list irc nobody"
_GROUPS = (
    "daemon bin sys adm tty disk lp mail news uucp man proxy kmem dialout fax voice cdrom floppy tape sudo audio dip "
    "www-data backup operator list irc src shadow utmp video sasl plugdev staff games users nogroup"
)


class Copy(Protocol):
    """One copy of a tree, and where commands on it run. Its commands' user calls himself root."""

    limits: Limits
    prefix: str
    """Where the copy's root lies for its commands; "" where it is their root."""

    def run(self, script: str) -> SandboxResult:
        """Run a script with bash in the copy's root. Raises EnvironmentCrashed when it cannot be started."""
        ...

    def look(self) -> Snapshot: ...

    def close(self) -> None:
        """Remove the copy, whatever the commands made of it; safe to call twice."""
        ...


@dataclass(frozen=True)
class Answer:
    """What a command printed (stdout and stderr as they came), and whether it ended well."""

    text: str
    status: int
    note: str = ""
    """Why the sandbox ended it, if it did."""


class Shell:
    """Commands one after the other on one copy, which it owns. `tops`: names directly under the tree's root."""

    def __init__(self, copy: Copy, tops: Sequence[str]) -> None:
        self._copy = copy
        self._tops = tops
        self.cwd = "/"
        try:
            self.start = self.look()
        except BaseException:
            self.close()
            raise

    def run(self, command: str) -> Answer:
        """Raises BadInput for a command that cannot be passed on (a NUL, too long), EnvironmentCrashed when the files
        are gone or no process can be started."""
        if not command.strip():
            raise BadInput("The command is empty; write one between the brackets.")
        # On the command's own first line, so that bash's messages count lines as people do.
        place = shlex.quote(self._copy.prefix + self.cwd)
        script = f"cd -- {place} 2>/dev/null; umask 022; {_TRAP}{self._command(command)}"
        result = self._copy.run(script)
        text, cwd = _split(result.output)
        if cwd is not None:
            self.cwd = self._shown(cwd) or "/"
        limits = self._copy.limits
        note = ""
        if result.timed_out:
            note = f"Command timed out after {limits.seconds:g} seconds"
        elif result.is_truncated:
            note = f"Command ended: it printed more than {limits.output_bytes:,} bytes"
        elif result.is_over_limit:
            note = "Command ended: it used too much memory or disk"
        return Answer(self._shown(text), result.returncode, note)

    def look(self) -> Snapshot:
        return self._copy.look()

    def close(self) -> None:
        self._copy.close()

    def _command(self, command: str) -> str:
        """Where the tree is not the root, its folders are named where they are."""
        if not self._copy.prefix or not self._tops:
            return command
        tops = "|".join(re.escape(top) for top in self._tops)
        return re.sub(rf"(?<![\w./-])/(?=(?:{tops})\b)", f"{self._copy.prefix}/", command)

    def _shown(self, text: str) -> str:
        return text.replace(self._copy.prefix, "") if self._copy.prefix else text


def surroundings(prefix: str) -> dict[str, str]:
    """The environment variables of a command but for PATH."""
    return {"HOME": f"{prefix}/root", "LANG": "C.UTF-8", "SHELL": "/bin/bash", "TERM": "dumb"}


def account_files(slot: Slot) -> dict[str, str]:
    """Name under /etc -> content. The slot's user calls himself root, as in InterCode's container, so that `ls -l`
    reads the same."""
    groups = "".join(f"{name}:x:{index}:\n" for index, name in enumerate(_GROUPS.split(), start=1))
    users = "".join(f"{name}:x:{index}:{index}::/:/bin/sh\n" for index, name in enumerate(_USERS.split(), start=1))
    return {
        "passwd": f"root:x:{slot.uid}:{slot.gid}:root:/root:/bin/bash\nroot:x:0:0:root:/root:/bin/bash\n{users}",
        "group": f"root:x:{slot.gid}:\nroot:x:0:\n{groups}",
    }


def _split(output: bytes) -> tuple[str, str | None]:
    """The command's output, and the folder that it ended in as the trap wrote it, None without it.

    A command may write such a mark itself: it then only moves its own shell.
    """
    text = output.decode("utf-8", "replace").replace("\0", "\ufffd")
    parts = text.rsplit(_MARK, 2)
    if len(parts) < 3:
        return text, None
    return parts[0] + parts[2], parts[1]
