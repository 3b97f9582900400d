"""Makes the sample project: a bare git repository with the corner shop in it and its ``.orchestrator.yml``."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from orchestrator.demo.place import Place
from orchestrator.domain.errors import PermanentError

SAMPLE: Final = Path(__file__).parent / "sample"
_HIDDEN: Final = {"gitignore": ".gitignore"}
"""Files that are stored without their dot, because packages leave hidden files out."""
# The service answers within a second; what does not get well in two more does not get well.
_HEALTH_S: Final = 3
# Identity and nothing else of the user's git: a signing key or a template would change what is made here.
_GIT: Final = ("git", "-c", "user.name=Demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgsign=false")


def make_project(place: Place) -> str:
    """Make the repository at ``place.repository``; the SHA of its first commit. Raises PermanentError, naming git."""
    environment = place.environment
    with tempfile.TemporaryDirectory(dir=place.world) as folder:
        work = Path(folder)
        shutil.copytree(SAMPLE, work, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        for stored, name in _HIDDEN.items():
            (work / stored).rename(work / name)
        (work / ".orchestrator.yml").write_text(repository_config(place))
        git(work, environment, "init", "-q", "--initial-branch=main", "--template=")
        git(work, environment, "add", "-A")
        git(work, environment, "commit", "-q", "-m", "Open the corner shop")
        git(work, environment, "clone", "-q", "--bare", "--template=", str(work), str(place.repository))
    return git(place.repository, environment, "rev-parse", "main")


def git(folder: Path, environment: Mapping[str, str], *arguments: str) -> str:
    """Output of a git command in ``folder``. Raises PermanentError with what git said."""
    cut_off = {**environment, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    try:
        done = subprocess.run([*_GIT, *arguments], cwd=folder, env=cut_off, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise PermanentError("git is not installed", remedy="install git") from error
    except subprocess.CalledProcessError as error:
        raise PermanentError(f"git {arguments[0]}: {error.stderr.strip()}") from error
    return done.stdout.strip()


def repository_config(place: Place) -> str:
    """``.orchestrator.yml`` of the sample; its commands name this machine's Python and directories."""

    def words(*argv: str) -> str:
        return json.dumps([sys.executable, "-B", *argv])

    return f"""\
test: {words("tools/run_tests.py")}
gates:
  ci: {{source: run}}
  coverage_report: coverage.xml
  security_command: {words("tools/check_security.py")}
image:
  files: [service.py, "shop/**", "products/**", "rates/**"]
  command: {words("tools/build_image.py", str(place.images))}
deploys:
{_deploy(place, "staging")}
{_deploy(place, "production")}
"""


def _deploy(place: Place, environment: str) -> str:
    return f"""\
  {environment}:
    command: {json.dumps(place.deploy_command(environment))}
    health_url: {place.health_url(environment)}
    timeout_s: 60
    health_timeout_s: {_HEALTH_S}"""
