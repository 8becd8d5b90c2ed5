"""The system-call filter of the sandbox, as the classic BPF program that `bwrap --seccomp FD` reads.

A deny-list: what shells, Unix tools and database engines use stays allowed; what only widens the kernel's attack
surface (io_uring, bpf, ptrace, keys, mounts, new namespaces, raw and exotic sockets) is refused. `clone3` answers
ENOSYS, since its flags lie behind a pointer that a filter cannot read; the C library then falls back to `clone`.
"""

from __future__ import annotations

import errno
import platform
import struct

# Numbers from the kernel's syscall tables: name -> (x86_64, aarch64); None where the architecture lacks it.
_DENIED: dict[str, tuple[int | None, int | None]] = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "modify_ldt": (154, None),
    "iopl": (172, None),
    "ioperm": (173, None),
    "vhangup": (153, 58),
    "kcmp": (312, 272),
    "move_pages": (279, 239),
    "mbind": (237, 235),
    "set_mempolicy": (238, 237),
    "migrate_pages": (256, 238),
}
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_CLONE = (56, 220)
_CLONE3 = 435
_SOCKET = (41, 198)
_IOCTL = (16, 29)
_X32 = 0x40000000
# Every CLONE_NEW* flag: a new user namespace would give capabilities inside it.
_NEW_NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
_TIOCSTI = 0x5412
_SOCKET_FAMILIES = (1, 2, 10)  # AF_UNIX, AF_INET, AF_INET6
_SOCK_TYPE_MASK = 0xF
_SOCK_RAW = 3

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K
_ALLOW = 0x7FFF0000
_KILL = 0x80000000
_ERRNO = 0x00050000
_NUMBER, _ARCH, _ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data; arguments are 64 bits, low word first

_Instruction = tuple[int, int, int, int]


def denied_calls() -> tuple[str, ...]:
    """Names of the calls that are always refused, whatever their arguments."""
    return tuple(_DENIED)


def program(machine: str = "") -> bytes | None:
    """The filter for `machine` (default: this one), or None where we have no table for its architecture."""
    known = _ARCHITECTURES.get(machine or platform.machine())
    if known is None:
        return None
    column, audit_arch = known
    code: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, audit_arch),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if column == 0:
        code += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL)]
    code += [*_refuse(_CLONE3, errno.ENOSYS)]
    for numbers in _DENIED.values():
        number = numbers[column]
        if number is not None:
            code += _refuse(number, errno.EPERM)
    code += _when(_CLONE[column], _refuse_namespaces())
    code += _when(_IOCTL[column], _refuse_terminal_input())
    code += _when(_SOCKET[column], _refuse_sockets())
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _refuse(number: int, error: int) -> list[_Instruction]:
    return [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | error)]


def _when(number: int, body: list[_Instruction]) -> list[_Instruction]:
    """Run `body`, which always returns, for one system call only."""
    return [(_EQUAL, 0, len(body), number), *body]


def _refuse_namespaces() -> list[_Instruction]:
    return [
        (_LOAD, 0, 0, _ARGUMENT),
        (_ANY_BIT, 0, 1, _NEW_NAMESPACES),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _refuse_terminal_input() -> list[_Instruction]:
    """TIOCSTI pushes characters into a terminal, as if a person had typed them."""
    return [
        (_LOAD, 0, 0, _ARGUMENT + 8),
        (_EQUAL, 0, 1, _TIOCSTI),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _refuse_sockets() -> list[_Instruction]:
    """Only stream and datagram sockets of the Unix and IP families (there is no network behind them)."""
    families: list[_Instruction] = [
        (_EQUAL, len(_SOCKET_FAMILIES) - index, 0, family) for index, family in enumerate(_SOCKET_FAMILIES)
    ]
    return [
        (_LOAD, 0, 0, _ARGUMENT),
        *families,
        (_RETURN, 0, 0, _ERRNO | errno.EAFNOSUPPORT),
        (_LOAD, 0, 0, _ARGUMENT + 8),
        (_AND, 0, 0, _SOCK_TYPE_MASK),
        (_EQUAL, 0, 1, _SOCK_RAW),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
