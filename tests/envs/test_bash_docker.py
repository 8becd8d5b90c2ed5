"""InterCode Bash in containers of a Docker daemon: the same trial as in bubblewrap, and attacks are refused."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from data.errors import EnvironmentCrashed, Unavailable
from data.types import StopReason, Task
from envs import sandbox, sandbox_docker
from envs.base import StepOutcome
from envs.bash_container import pack, unpack
from envs.bash_trees import Tree, lay_out, snapshot
from envs.intercode_bash import KIND, BashEnvironment
from envs.sandbox_types import Slot

needs_daemon = pytest.mark.skipif(not sandbox_docker.probe().works, reason=sandbox_docker.probe().detail)
ROOT = Path(__file__).parents[2]
PROGRAMS = (
    "bash cat chmod cp cut date env find grep gzip head id ln ls md5sum mkdir mkfifo mv perl ps rm sed seq setpriv "
    "sleep sort tail tar touch tr truncate uniq unshare wc whoami xargs yes awk diff du dirname basename stat tee"
)
Opener = Callable[..., BashEnvironment]


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """An image of this machine's own programs, so that no registry is needed and outputs equal bubblewrap's."""
    name = f"retro-dash-test-{os.getpid()}"
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for link in ("bin", "sbin", "lib", "lib64"):
            if Path("/", link).is_symlink():
                tar.add(f"/{link}")
        for path in sorted(_with_libraries(PROGRAMS.split())):
            tar.add(os.path.realpath(path), arcname=Path(path).parent.resolve() / Path(path).name)
    _docker("import", "-", name, stdin=archive.getvalue())
    yield name
    _docker("rmi", "--force", name)


def _with_libraries(programs: list[str]) -> set[str]:
    paths = {path for path in map(shutil.which, programs) if path is not None}
    linked = subprocess.run(["ldd", *paths], capture_output=True, text=True, check=False).stdout
    libraries = {word for line in linked.splitlines() for word in line.split() if word.startswith("/")}
    return {path for path in paths | libraries if not path.endswith(":")}


def _docker(*words: str, stdin: bytes = b"") -> str:
    return subprocess.run(["docker", *words], input=stdin, capture_output=True, check=True).stdout.decode()


@pytest.fixture
def opened(image: str) -> Iterator[Opener]:
    environments: list[BashEnvironment] = []

    def open_task(gold: str = "true", backend: str = "docker", **options: Any) -> BashEnvironment:
        metadata: dict[str, Any] = {"gold": gold, "tree": "website", "reward": "strict"}
        task = Task(id="t", env=KIND.name, split="x", instruction="Do it.", turn_limit=100, metadata=metadata)
        environment = KIND.open(task, {"backend": backend, "image": image, **options})
        assert isinstance(environment, BashEnvironment)
        environments.append(environment)
        environment.start()
        return environment

    yield open_task
    for environment in environments:
        environment.close()
        environment.close()
    assert _docker("ps", "--all", "--quiet", "--filter", f"ancestor={image}") == ""


def say(environment: BashEnvironment, command: str) -> str:
    return environment.step(f"execute[{command}]").observation


ORDINARY = (
    "ls -l /site | cut -c 1-20; pwd; whoami; echo ~",
    "cd /site/shop && ls",
    "pwd; find . -name '*.html' | sort",
    "echo new > /site/new.txt; chmod 600 /site/index.html; rm /site/robots.txt; ln -s / /site/loop; mkdir /top",
    "x=1; f() { :; }; sleep 99 & echo $x",
    "echo [$x]; type f; ps ax | grep -c '[s]leep'; cat /site/new.txt",
    "nosuchprogram; echo (",
    "exit 3",
    "kill -9 $$",
    "printf '\\036/usr\\036'; printf 'a\\0b\\377\\n'",
    "printf %s 'no line end'",
    "echo one; echo two >&2; echo three",
    "cd /site/css && rm -r /site/css",
    "pwd; cat",
    "  ",
    "echo a\0b",
    "stat -c '%a %F %n' /site /site/* /tmp /root | sort; date -r /site/index.html +%s",
    "mkdir -p /site/x/y && chmod 000 /site/x; mkfifo /site/pipe; touch $'/site/\\n\\t*'; cp -l /site/home.html /hard",
)


@needs_daemon
@pytest.mark.slow
@pytest.mark.skipif(not sandbox.probe().works, reason=sandbox.probe().detail)
def test_a_trial_is_the_same_trial_as_in_bubblewrap(opened: Opener) -> None:
    trials: list[list[StepOutcome]] = []
    trees: list[Any] = []
    for backend in ("docker", "bubblewrap"):
        environment = opened("rm /site/robots.txt; echo left", backend)
        trials.append([environment.step(f"execute[{command}]") for command in ORDINARY])
        trees.append(environment.view()["tree"])
        trials[-1].append(environment.step("submit"))
    assert trials[0] == trials[1]
    assert trees[0] == trees[1]


@needs_daemon
def test_gold_then_submit_solves_and_the_view_records_where_it_ran(opened: Opener, image: str) -> None:
    environment = opened("echo new > /site/new.txt; grep -c TODO /site/contact.html")
    outcome = environment.step("execute[echo new > /site/new.txt; grep -c TODO /site/contact.html]")
    assert (outcome.observation, outcome.reward, outcome.stop) == ("2\n", 1.0, None)
    assert environment.step("submit").stop is StopReason.SOLVED
    view = environment.view()
    assert (view["backend"], view["image"], view["unsafe"]) == ("docker", image, False)


@needs_daemon
def test_a_command_has_no_rights_no_network_and_sees_nothing_of_the_host(opened: Opener, tmp_path: Path) -> None:
    environment = opened()
    status = dict(
        line.split(":", 1) for line in say(environment, "cat /proc/self/status").splitlines() if ":" in line
    )
    assert "0" not in status["Uid"].split()
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert (status["NoNewPrivs"].strip(), status["Seccomp"].strip()) == ("1", "2")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert "refused" in say(environment, f"exec 3<>/dev/tcp/127.0.0.1/{port}")
    assert "unreachable" in say(environment, "exec 3<>/dev/tcp/192.0.2.1/80")
    (tmp_path / "secret").write_text("host secret")
    hidden = [str(tmp_path / "secret"), str(ROOT), "/var/run/docker.sock", "/run/docker.sock", "/root/.ssh"]
    assert (
        say(environment, "; ".join(f"test -e {path} && echo {path}" for path in hidden) + "; echo done") == "done\n"
    )
    names = set(say(environment, "env | cut -d= -f1").split())
    assert names == {"HOME", "LANG", "OLDPWD", "PATH", "PWD", "SHELL", "SHLVL", "TERM", "_"}


@needs_daemon
@pytest.mark.parametrize(
    ("attack", "twin"),
    [
        ("touch /usr/x", "touch /site/x"),
        ("echo 1 > /etc/passwd", "cat /etc/passwd"),
        ("echo > /proc/sys/kernel/hostname", "cat /proc/sys/kernel/hostname"),
        ("unshare -U true", "unshare --version"),
        ("setpriv --reuid=0 true", "setpriv --dump"),
        ("mkfifo /dev/x", "mkfifo /dev/shm/x"),
        ("test -r /dev/vda || test -r /dev/sda || test -r /dev/mem", "test -r /dev/null"),
    ],
)
def test_what_lies_outside_of_the_tree_is_refused_and_its_harmless_twin_works(
    attack: str, twin: str, opened: Opener
) -> None:
    environment = opened()
    assert environment.step(f"execute[{attack}]").is_valid is False
    assert environment.step(f"execute[{twin}]").is_valid is True


@needs_daemon
def test_time_output_memory_processes_and_disk_are_limited(opened: Opener) -> None:
    environment = opened(seconds=2)
    started = time.monotonic()
    assert say(environment, "echo a; sleep 60") == "a\nCommand timed out after 2 seconds"
    assert time.monotonic() - started < 50
    assert "printed more than" in say(environment, "yes")
    assert "memory or disk" in say(environment, "perl -e '$x = \"x\" x 1500000000; print length $x'")
    assert say(environment, "LC_ALL=C perl -e '$x = \"x\" x 1500000; print length $x'") == "1500000"
    assert "fork" in say(environment, "for i in {1..200}; do sleep 5 & done; true")
    assert "File size limit" in say(environment, "head -c 40000000 /dev/zero > /site/big; echo $? >&2")
    fill = "while true; do i=$((i+1)); head -c 9000000 /dev/zero > /site/$i; done"
    full = opened(seconds=60)
    assert "too much memory or disk" in say(full, fill)
    assert say(environment, "echo fine") == "fine\n"


@needs_daemon
@pytest.mark.parametrize(
    "tampering",
    [
        "rm -f /bin /lib64; mkdir /bin; echo 'echo 1' > /bin/bash; chmod +x /bin/bash",
        "echo 'exit 0' > /root/.bashrc; echo 'exit' > /root/.bash_profile; export BASH_ENV=/root/.bashrc",
        "(sleep 100; rm -rf /site) & disown; setsid sleep 100 &",
        "kill -9 -1; kill -9 1",
        "rm -rf --no-preserve-root / 2>/dev/null",
    ],
)
def test_tampering_changes_neither_the_gold_run_nor_later_commands(tampering: str, opened: Opener) -> None:
    environment = opened("grep -c TODO /site/contact.html")
    say(environment, tampering)
    assert say(environment, "echo works | cat; ls -d /bin; ps ax | grep -c '[s]leep'") == "works\n/bin\n0\n"
    environment.step("submit")
    result: Any = environment.view()["result"]
    assert (result["gold_output"], result["reward"] < 0.995) == ("2\n", True)


@needs_daemon
def test_a_removed_container_breaks_the_trial_with_a_sentence(opened: Opener, image: str) -> None:
    environment = opened()
    _docker("rm", "--force", *_docker("ps", "--all", "--quiet", "--filter", f"ancestor={image}").split())
    with pytest.raises(EnvironmentCrashed, match="No such container"):
        environment.step("execute[ls]")


@needs_daemon
def test_an_image_that_is_not_there_or_has_no_shell_is_a_sentence(opened: Opener) -> None:
    with pytest.raises(Unavailable, match=r"lacks the image.*docker pull"):
        opened(image="retro-dash/no-such-image:1")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(__file__, arcname="file")
    name = f"retro-dash-empty-{os.getpid()}"
    _docker("import", "-", name, stdin=archive.getvalue())
    try:
        with pytest.raises(EnvironmentCrashed, match="needs bash"):
            opened(image=name)
    finally:
        _docker("rmi", "--force", name)


@needs_daemon
def test_containers_of_a_killed_process_are_removed_by_the_next_one(image: str) -> None:
    task = "KIND.bundled('valid')[0]"
    script = (
        f"from envs.intercode_bash import KIND; e = KIND.open({task}, {{'backend': 'docker', 'image': '{image}'}})"
    )
    kill = "; e.start(); import os; os.kill(os.getpid(), 9)"
    listing = ("ps", "--all", "--quiet", "--filter", f"ancestor={image}")
    subprocess.run([sys.executable, "-c", script + kill], cwd=ROOT, check=False)
    assert len(_docker(*listing).split()) == 1
    subprocess.run([sys.executable, "-c", script + "; e.start(); e.close()"], cwd=ROOT, check=True)
    assert _docker(*listing) == ""


@pytest.mark.skipif(shutil.which("docker") is None, reason="the program docker is not here")
def test_without_a_daemon_a_trial_is_unavailable_with_a_sentence(tmp_path: Path) -> None:
    script = (
        "from envs.intercode_bash import KIND\n"
        "try: KIND.open(KIND.bundled('valid')[0], {'backend': 'docker'}).start()\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    nowhere = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    done = subprocess.run([sys.executable, "-c", script], env=nowhere, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.startswith("Unavailable No Docker daemon answers"), done


def test_a_packed_tree_is_unpacked_as_the_same_files_laid_out(tmp_path: Path) -> None:
    entries: list[dict[str, Any]] = [
        {"path": "/a/b/deep.txt", "type": "file", "mode": "0o600", "text": "é\n"},
        {"path": "/a", "type": "dir", "mode": "0o750"},
        {"path": "/a/bytes", "type": "file", "base64": "AP8="},
        {"path": "/a/out", "type": "link", "target": "/etc/shadow"},
        {"path": "/a/bin/x", "type": "file", "text": "not seen"},
    ]
    tree = Tree.model_validate({"entries": entries})
    slot = Slot(1234, 5678)
    with tarfile.open(fileobj=io.BytesIO(pack(tree, slot))) as tar:
        owners = {(member.uid, member.gid) for member in tar if member.name.startswith("./a")}
        tar.extractall(tmp_path / "packed", filter="tar")
    assert owners == {(1234, 5678)}
    (tmp_path / "laid").mkdir()
    lay_out(tree, tmp_path / "laid", Slot(os.geteuid(), os.getegid()))
    seen = []
    for root in ("packed", "laid"):
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(tmp_path / root / "a", arcname="a")
        archive.seek(0)
        seen.append(unpack(archive)[0])
    on_disk = {path: found for path, found in snapshot(tmp_path / "laid").items() if path.split("/")[0] == "a"}
    assert seen[0] == seen[1] == on_disk
    assert unpack(io.BytesIO()) == ({}, 0)
    archive.seek(0)
    assert set(unpack(archive, 3)[0]) == {"a", "a/b", "a/b/deep.txt"}
