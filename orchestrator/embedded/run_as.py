"""Run Postgres as another user when we are root: it refuses to run as root.

Nothing on the way to the data directory is opened for others. If the other user cannot reach the program or
the data (a checkout under /root), the child keeps one capability, reading and searching directories, instead.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from orchestrator.embedded.errors import EmbeddedStoreError

SYSTEM_USER = "embedded_postgres"

_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_CAP_DAC_READ_SEARCH = 2
_CAPABILITY_VERSION_3 = 0x20080522
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class RunAs:
    """A user to become before exec; ``capability`` is a Linux capability to keep, or None."""

    name: str
    uid: int
    gid: int
    capability: int | None = None

    def become(self) -> None:
        """Become the user, for good. Only for the child between fork and exec; raises OSError."""
        if self.capability is not None:
            _check(_libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0))
        os.setgroups([self.gid])
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)
        if self.capability is not None:
            _keep(self.capability)


def store_user(*paths: Path) -> RunAs | None:
    """The user for Postgres: None unless we are root, else the system user, made when it is missing.

    ``paths`` must be reachable for it; where they are not, the returned user keeps the capability to pass.
    Raises EmbeddedStoreError when there is no way.
    """
    if os.geteuid() != 0:
        return None
    entry = _entry(SYSTEM_USER) or _create(SYSTEM_USER)
    plain = RunAs(entry.pw_name, entry.pw_uid, entry.pw_gid)
    if _reaches(plain, paths):
        return plain
    for capability in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE):
        strong = RunAs(plain.name, plain.uid, plain.gid, capability)
        if sys.platform == "linux" and _reaches(strong, paths):
            return strong
    places = ", ".join(str(path) for path in paths)
    raise EmbeddedStoreError(
        f"user {SYSTEM_USER} cannot reach {places}, and Postgres refuses to run as root",
        remedy="run as a normal user, or put the data directory and the venv where every user can pass",
    )


def _entry(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _create(name: str) -> pwd.struct_passwd:
    useradd = shutil.which("useradd", path=os.defpath + ":/usr/sbin:/sbin")
    if useradd is not None:
        command = [useradd, "--system", "--no-create-home", "--shell", "/bin/false", name]
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    entry = _entry(name)  # asked again, not judged by useradd's status: another process may have made it
    if entry is None:
        raise EmbeddedStoreError(
            f"Postgres refuses to run as root and user {name} could not be made",
            remedy=f"run as a normal user, or make the user: useradd --system {name}",
        )
    return entry


def _reaches(user: RunAs, paths: tuple[Path, ...]) -> bool:
    try:
        test = " && ".join(f'test -x "${{{number}}}"' for number in range(1, len(paths) + 1))
        command = ["/bin/sh", "-c", test, "sh", *map(str, paths)]
        done = subprocess.run(
            command, preexec_fn=user.become, stdin=subprocess.DEVNULL, capture_output=True, cwd="/", check=False
        )
    except subprocess.SubprocessError:  # the capability is not ours to give
        return False
    return done.returncode == 0


def _keep(capability: int) -> None:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    bit = 1 << capability
    data = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)  # effective, permitted, inheritable; low and high words
    _check(_libc.capset(header, data))
    _check(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
