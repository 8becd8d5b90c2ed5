"""The system-call filter, run by a small interpreter of classic BPF, on both architectures."""

from __future__ import annotations

import errno
import struct

import pytest

from envs.sandbox_seccomp import denied_calls, program

ALLOWED, KILLED, ERROR = 0x7FFF0000, 0x80000000, 0x00050000
X86, ARM = 0xC000003E, 0xC00000B7


def verdict(machine: str, arch: int, number: int, *arguments: int) -> int:
    """What the kernel would answer: an error number, or ALLOWED or KILLED."""
    code = program(machine)
    assert code is not None
    data = struct.pack("=IIQ6Q", number, arch, 0, *(*arguments, *[0] * (6 - len(arguments))))
    steps = list(struct.iter_unpack("=HBBI", code))
    accumulator, at = 0, 0
    while True:
        operation, if_true, if_false, operand = steps[at]
        at += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, operand)
        elif operation == 0x54:
            accumulator &= operand
        elif operation == 0x06:
            return operand & 0xFFFF if operand & 0xFFFF0000 == ERROR else operand
        else:
            tests = {0x15: accumulator == operand, 0x35: accumulator >= operand, 0x45: bool(accumulator & operand)}
            at += if_true if tests[operation] else if_false


@pytest.mark.parametrize(
    ("machine", "arch", "numbers"),
    [
        ("x86_64", X86, {"bpf": 321, "ptrace": 101, "mount": 165, "io_uring_setup": 425, "unshare": 272}),
        ("aarch64", ARM, {"bpf": 280, "ptrace": 117, "mount": 40, "io_uring_setup": 425, "unshare": 97}),
    ],
)
def test_dangerous_calls_get_an_error_and_ordinary_ones_pass(
    machine: str, arch: int, numbers: dict[str, int]
) -> None:
    assert set(numbers) <= set(denied_calls())
    for number in numbers.values():
        assert verdict(machine, arch, number) == errno.EPERM
    ordinary = {"x86_64": (0, 1, 2, 59, 61), "aarch64": (56, 63, 64, 221, 260)}[
        machine
    ]  # open, read, write, exec, wait
    assert {verdict(machine, arch, number) for number in ordinary} == {ALLOWED}


@pytest.mark.parametrize(("machine", "arch", "clone"), [("x86_64", X86, 56), ("aarch64", ARM, 220)])
def test_threads_and_forks_pass_and_new_namespaces_do_not(machine: str, arch: int, clone: int) -> None:
    assert verdict(machine, arch, clone, 17) == ALLOWED  # SIGCHLD: a fork
    assert verdict(machine, arch, clone, 0x3D0F00) == ALLOWED  # what pthread_create passes
    for flag in (0x10000000, 0x20000, 0x40000000, 0x20000000):  # user, mount, network, process namespaces
        assert verdict(machine, arch, clone, 17 | flag) == errno.EPERM
    assert verdict(machine, arch, 435) == errno.ENOSYS


@pytest.mark.parametrize(("machine", "arch", "socket"), [("x86_64", X86, 41), ("aarch64", ARM, 198)])
def test_only_plain_sockets_of_unix_and_ip_pass(machine: str, arch: int, socket: int) -> None:
    stream, datagram, raw, close_on_exec = 1, 2, 3, 0o2000000
    for family in (1, 2, 10):
        assert verdict(machine, arch, socket, family, stream | close_on_exec) == ALLOWED
        assert verdict(machine, arch, socket, family, datagram) == ALLOWED
        assert verdict(machine, arch, socket, family, raw | close_on_exec) == errno.EPERM
    for family in (16, 17, 38, 40):  # netlink, packet, crypto, virtual machines
        assert verdict(machine, arch, socket, family, stream) == errno.EAFNOSUPPORT


def test_terminal_input_cannot_be_faked_and_other_ioctls_pass() -> None:
    assert verdict("x86_64", X86, 16, 0, 0x5412) == errno.EPERM
    assert verdict("x86_64", X86, 16, 0, 0x5413) == ALLOWED


def test_calls_of_another_architecture_end_the_process() -> None:
    assert verdict("x86_64", 0x40000003, 1) == KILLED  # 32-bit
    assert verdict("x86_64", X86, 0x40000000 + 59) == KILLED  # x32
    assert verdict("aarch64", X86, 1) == KILLED


def test_an_unknown_architecture_has_no_filter() -> None:
    assert program("riscv64") is None
