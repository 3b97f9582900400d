"""Brings one version up and replaces the one that ran before: ``bring_up.py PORT FOLDER LOG``.

Which version, where and for which deployment stand in ``ORCH_SHA``, ``ORCH_IMAGE``, ``ORCH_ENVIRONMENT`` and
``ORCH_DEPLOYMENT``. Every start is one line in LOG, which only grows. Ends when the new process answers, well or not:
whether it is well is for whoever looks.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from pathlib import Path

PORT, FOLDER, LOG = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
SHA, IMAGE = os.environ["ORCH_SHA"], os.environ["ORCH_IMAGE"]
ENVIRONMENT, DEPLOYMENT = os.environ["ORCH_ENVIRONMENT"], os.environ["ORCH_DEPLOYMENT"]
SERVICE = ["service.py", ENVIRONMENT, str(PORT)]
SAFELY = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
# What is deployed stands on loopback, whatever proxy the environment names.
LOOK = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def start_ticks(pid: int) -> str:
    """Tells a process from a later one with its number; empty when there is none, or it only waits to be collected."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def write_log() -> None:
    line = {"deployment": int(DEPLOYMENT), "environment": ENVIRONMENT, "sha": SHA, "image": IMAGE, "at": time.time()}
    descriptor = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, json.dumps(line).encode() + b"\n")
    os.close(descriptor)


def unpack() -> Path:
    """The files of this version: from its image, or from this checkout where none was built."""
    release = FOLDER / f"release-{DEPLOYMENT}"
    shutil.rmtree(release, ignore_errors=True)
    release.mkdir(parents=True)
    if IMAGE:
        with tarfile.open(FOLDER.parent / "images" / f"{IMAGE}.tar") as image:
            image.extractall(release, **SAFELY)
    else:
        for name in ("shop", "products", "rates"):
            shutil.copytree(name, release / name)
        shutil.copy("service.py", release)
    return release


def services() -> dict[int, str]:
    """Pid and start of each process that serves here. Asked of the kernel: a note of ours would miss the one whose
    start was cut off before it was written, and nothing could take its port again."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if file.read_bytes().decode(errors="replace").split("\0")[-5:-2] == SERVICE:
                found[int(file.parent.name)] = start_ticks(int(file.parent.name))
    return {pid: ticks for pid, ticks in found.items() if ticks}


def end_previous() -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + 3
        while (previous := services()) and time.monotonic() < deadline:
            for pid in previous:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            time.sleep(0.02)


def start(release: Path) -> None:
    output = (FOLDER / f"{ENVIRONMENT}.out").open("ab")
    subprocess.Popen(
        [sys.executable, "-B", *SERVICE, SHA],
        cwd=release,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


def answering() -> str:
    try:
        with LOOK.open(f"http://127.0.0.1:{PORT}/health", timeout=2) as answer:
            return json.load(answer)["version"]
    except urllib.error.HTTPError as unwell:
        return json.load(unwell)["version"]
    except OSError:
        return ""


def main() -> int:
    write_log()
    release = unpack()
    end_previous()
    start(release)
    deadline = time.monotonic() + 15
    while answering() != SHA:
        if time.monotonic() > deadline:
            print(f"{SHA} does not answer on port {PORT}")
            return 1
        time.sleep(0.05)
    print(f"{ENVIRONMENT}: {SHA} answers on port {PORT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
