"""A copy of a file tree in a folder of this machine, whose commands run in bubblewrap (or, unsafely, on the host)."""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from data.errors import EnvironmentCrashed
from envs.bash_shell import account_files, surroundings
from envs.bash_trees import Snapshot, Tree, lay_out, snapshot
from envs.sandbox import Limits, Mount, SandboxResult, Slot, run

_PREFIX = "retro-dash-bash-"
_STALE_SECONDS = 3600
_HOST_FILES = {
    "/etc/hosts": "127.0.0.1\tlocalhost\n127.0.1.1\tsandbox\n",
    "/etc/hostname": "sandbox\n",
    # How busy this machine is would make a trial come out otherwise another time.
    "/proc/loadavg": "0.03 0.02 0.00 1/80 42\n",
}


class FolderCopy:
    """Implements `envs.bash_shell.Copy`."""

    def __init__(
        self, tree: Tree, slot: Slot, limits: Limits, *, unsafe_run_model_code_on_host: bool = False
    ) -> None:
        """Raises EnvironmentCrashed when there is no room, BadFile for a tree that cannot be laid out."""
        _sweep()
        self.limits = limits
        self._slot = slot
        self._unsafe = unsafe_run_model_code_on_host
        try:
            self._home = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        except OSError as error:
            raise EnvironmentCrashed(f"There is no room for the trial's files: {error}.") from error
        self._root = self._home / "root"
        self.prefix = str(self._root) if self._unsafe else ""
        try:
            self._root.mkdir()
            lay_out(tree, self._root, slot)
            self._mounts = [Mount(self._root, "/", is_writable=True), *self._own_files()]
        except BaseException:
            self.close()
            raise

    def run(self, script: str) -> SandboxResult:
        if not self._root.is_dir():
            raise EnvironmentCrashed(f"The trial's files are gone: something removed {self._root}.")
        try:
            return run(
                ["/usr/bin/bash", "-c", script, "/bin/bash"],
                mounts=self._mounts,
                cwd=f"{self.prefix}/",
                env=surroundings(self.prefix),
                limits=self.limits,
                slot=self._slot,
                unsafe_run_model_code_on_host=self._unsafe,
            )
        except OSError as error:
            raise EnvironmentCrashed(f"The sandbox could not start a command: {error}.") from error

    def look(self) -> Snapshot:
        return snapshot(self._root)

    def close(self) -> None:
        _remove(self._home)

    def _own_files(self) -> list[Mount]:
        folder = self._home / "own"
        folder.mkdir()
        accounts = {f"/etc/{name}": text for name, text in account_files(self._slot).items()}
        mounts = []
        for path, text in {**accounts, **_HOST_FILES}.items():
            source = folder / Path(path).name
            source.write_text(text)
            mounts.append(Mount(source, path))
        return mounts


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
