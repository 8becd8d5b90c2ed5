"""What bubblewrap is told, and the limits and the user that a command gets inside it."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from envs.sandbox_types import MEBIBYTE, Limits, Mount, Slot

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What programs need of /etc: links such as awk -> mawk, the linker's cache, the time zone. No users, no hosts.
_ETC = ("alternatives", "ld.so.cache", "localtime")
_SYSTEM = ("usr", "etc", "proc", "dev", "tmp")
OPEN_FILES = 256


def options(
    mounts: Sequence[Mount], cwd: str, env: Mapping[str, str], limits: Limits, descriptors: Mapping[str, int]
) -> bytes:
    """bubblewrap's options, to be read by `--args FD`: a command line could be read inside the sandbox, and these
    name folders of the host. `descriptors`: option (`info-fd`, `block-fd`, `seccomp`) -> inherited descriptor."""
    words = [*_isolation(), *_folders(mounts, limits), "--chdir", cwd, "--clearenv"]
    for name, value in {"PATH": PATH, **env}.items():
        words += ["--setenv", name, value]
    for option, descriptor in descriptors.items():
        words += [f"--{option}", str(descriptor)]
    return b"".join(os.fsencode(word) + b"\0" for word in words)


def as_user(argv: Sequence[str], slot: Slot) -> list[str]:
    """`argv` as the slot's user without any privilege, where that is not ourselves."""
    if slot.uid == os.geteuid():
        return list(argv)
    words = ["/usr/bin/setpriv", f"--reuid={slot.uid}", f"--regid={slot.gid}", "--clear-groups"]
    return [*words, "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", *argv]


def resource_limits(limits: Limits, *, has_cpu_limit: bool) -> dict[str, int]:
    """`prlimit`'s name of a limit -> its value."""
    values = {
        "as": limits.memory_bytes,
        "fsize": limits.file_bytes,
        "nofile": OPEN_FILES,
        "nproc": limits.processes,
        "core": 0,
    }
    return {**values, "cpu": math.ceil(limits.seconds) + 1} if has_cpu_limit else values


def prepare_root(folder: Path) -> None:
    """Make `folder`, which will be mounted as "/", hold the system's mount points and links, whatever the last
    command in it did to them."""
    for name in _SYSTEM:
        with suppress(FileExistsError):
            (folder / name).mkdir()
            (folder / name).chmod(0o1777 if name == "tmp" else 0o755)
    for link, target in system_links().items():
        path = folder / link.lstrip("/")
        if path.is_symlink() and os.readlink(path) == target:
            continue
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.exists():
            shutil.rmtree(path)
        path.symlink_to(target)


def _isolation() -> list[str]:
    words = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    words += ["--hostname", "sandbox", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    if os.geteuid() == 0:
        # Only until setpriv has become the slot's user. A user namespace would leave files owned by the real root.
        return [*words, "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP"]
    return [*words, "--unshare-user", "--disable-userns"]


def _folders(mounts: Sequence[Mount], limits: Limits) -> list[str]:
    """Mounts in an order in which the later ones lie on the earlier: root, system, scratch, then the rest."""
    root = [mount for mount in mounts if mount.target == "/"]
    words = [word for mount in root for word in _bind(mount)]
    words += ["--ro-bind", "/usr", "/usr"]
    if not root:
        for link, target in system_links().items():
            words += ["--symlink", target, link]
    words += ["--perms", "0755", "--size", str(MEBIBYTE), "--tmpfs", "/etc"]
    for name in _ETC:
        words += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    words += ["--proc", "/proc", "--dev", "/dev"]
    words += ["--perms", "1777", "--size", str(limits.scratch_bytes), "--tmpfs", "/dev/shm"]  # noqa: S108
    if not root:
        words += ["--perms", "1777", "--size", str(limits.scratch_bytes), "--tmpfs", "/tmp"]  # noqa: S108
    for mount in mounts:
        if mount.target != "/":
            words += [*_parents(mount.target), *_bind(mount)]
    words += ["--remount-ro", "/etc"]
    return words if root else [*words, "--remount-ro", "/"]


def _parents(target: str) -> list[str]:
    """Folders above a mount; left to itself bubblewrap makes them so that only their owner may enter."""
    parents = [path for path in reversed(Path(target).parents) if path != Path("/")]
    if parents and parents[0].name == "tmp":
        parents = parents[1:]  # The private /tmp is there already.
    elif not parents or parents[0].name in _SYSTEM:
        return []
    return [word for path in parents for word in ("--perms", "0755", "--dir", str(path))]


def _bind(mount: Mount) -> list[str]:
    return ["--bind" if mount.is_writable else "--ro-bind", str(mount.source), mount.target]


def system_links() -> dict[str, str]:
    """`/bin`, `/lib64` and the like, where they are links into /usr: link -> target."""
    names = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
    return {f"/{name}": os.readlink(f"/{name}") for name in names if Path(f"/{name}").is_symlink()}
