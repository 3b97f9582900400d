"""A machine of one's own for the run: a boot id that can be changed and a small disk for agent runs.

Both are mounts in a mount namespace that only this process and its children see; nothing of the real machine
changes. The host adapter, the shim, the deployer and the supervisor all read their boot id from the kernel's file, so
a file of ours is mounted over it: no part of the product has a test switch for it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MNT_DETACH: Final = 2
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000


class OwnMachine:
    """Call ``enter`` before any thread or child is started. ``problem`` says why there is none; then the boot id and
    the disk stay those of the real machine, and faults of them cannot be done."""

    def __init__(self) -> None:
        self.problem = "it was not entered"
        self._boot_file: Path | None = None

    def enter(self, boot_file: Path) -> None:
        """``boot_file`` is made, and stands for the kernel's from now on; ``leave`` removes it."""
        try:
            _unshare()
            boot_file.write_text(BOOT_ID.read_text())
            _mount(str(boot_file), str(BOOT_ID), flags=_MS_BIND)
        except OSError as error:
            self.problem = f"no mounts of its own are allowed here ({error})"
            return
        self.problem, self._boot_file = "", boot_file

    def mount_disk(self, disk: Path, disk_bytes: int) -> None:
        """``disk`` becomes a file system of its own, as large as that."""
        if not self.problem:
            disk.mkdir(mode=0o700, parents=True, exist_ok=True)
            _mount("tmpfs", str(disk), kind="tmpfs", data=f"size={disk_bytes},mode=0700")

    def unmount(self, disk: Path) -> None:
        """Give the place back; what is on the disk is gone."""
        _check(_libc.umount2(str(disk).encode(), _MNT_DETACH))

    def leave(self) -> None:
        """Remove what was made outside of the data directory. The mounts go with the process."""
        if self._boot_file is not None:
            self._boot_file.unlink(missing_ok=True)

    def change_boot_id(self, boot_id: str) -> None:
        """What a reboot does; running processes have read theirs before."""
        assert self._boot_file is not None, self.problem
        self._boot_file.write_text(f"{boot_id}\n")


def fill(disk: Path) -> Path:
    """Write a file of ballast until nothing more fits; remove it to make room."""
    ballast = disk / ".ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 65536)
    with suppress(OSError), ballast.open("ab", buffering=0) as file:
        while True:
            file.write(b"\0")
    return ballast


def _unshare() -> None:
    if sys.platform != "linux":
        raise OSError("this is not Linux")
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        _check(_libc.unshare(_CLONE_NEWNS))
    else:
        _check(_libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS))
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    _mount("none", "/", flags=_MS_REC | _MS_PRIVATE)


_libc = ctypes.CDLL(None, use_errno=True)


def _mount(source: str, target: str, *, kind: str = "", flags: int = 0, data: str = "") -> None:
    _check(
        _libc.mount(
            source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), data.encode() or None
        )
    )


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
