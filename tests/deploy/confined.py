"""Runs a command with system calls filtered as a unit of systemd has it, where no systemd runs.

    python tests/deploy/confined.py ALLOWED FAMILIES [--no-jit] COMMAND...

ALLOWED is a file of names, FAMILIES numbers of address families parted by commas. With --no-jit no
memory can be made executable after it was writable, as with MemoryDenyWriteExecute=.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

ALLOW, ERRNO, EQUAL = 0x7FFF0000, 0x00050000, 4
SET_MDWE, REFUSE_EXEC_GAIN = 65, 1  # prctl(2), Linux 6.3


class Comparison(ctypes.Structure):
    """libseccomp's struct scmp_arg_cmp."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("unused", ctypes.c_uint64),
    )


def confine(allowed: set[str], families: list[int]) -> None:
    """Filter this process and all that it starts."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    filter_ = ctypes.c_void_p(library.seccomp_init(ERRNO | errno.EPERM))
    # Glibc then takes clone, whose flags can be looked at: what RestrictNamespaces= does as well.
    names = (allowed - {"socket", "setns", "unshare", "clone3"}) | {"clone3"}
    for name in sorted(names):
        number = library.seccomp_syscall_resolve_name(name.encode())
        action = ERRNO | errno.ENOSYS if name == "clone3" else ALLOW
        if number >= 0:  # it exists on this processor
            assert library.seccomp_rule_add_array(filter_, action, number, 0, None) == 0, name
    socket = library.seccomp_syscall_resolve_name(b"socket")
    for family in families:
        only = Comparison(0, EQUAL, family, 0)
        assert library.seccomp_rule_add_array(filter_, ALLOW, socket, 1, ctypes.byref(only)) == 0
    assert library.seccomp_load(filter_) == 0


if __name__ == "__main__":
    _, names_, families_, *command = sys.argv
    if command[0] == "--no-jit":
        assert ctypes.CDLL(None).prctl(SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0) == 0
        command = command[1:]
    confine(set(Path(names_).read_text().split()), [int(one) for one in families_.split(",")])
    os.execvp(command[0], command)
