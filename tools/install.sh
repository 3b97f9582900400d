#!/usr/bin/env bash
# Usage: tools/install.sh VENV WHAT STAMP
# Makes VENV with a Python >= 3.11 and installs WHAT (a pip requirement) into it; touches STAMP at the end only.
set -euo pipefail

venv=$1 what=$2 stamp=$3

say() { printf '%s\n' "$*" >&2; }

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# Debian splits these off; without them `python -m venv` fails half way, with a directory left behind.
can_make_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# The system's own Python is asked last, for a PATH whose python3 is too old or was built without ensurepip.
find_python() {
    local candidate found=""
    for candidate in ${PYTHON:-} python3 python3.11 python3.12 python3.13 python3.14 ${SYSTEM_PYTHON-/usr/bin/python3}; do
        command -v "$candidate" >/dev/null 2>&1 && new_enough "$candidate" || continue
        found=$candidate
        if can_make_venv "$candidate"; then
            printf '%s' "$candidate"
            return
        fi
    done
    if [ -n "$found" ]; then
        say "error: $found cannot make virtual environments (its ensurepip is missing)."
        say "remedy: apt-get install python3-venv (Debian, Ubuntu), or name another Python: make PYTHON=/path/to/python3 ..."
    else
        say "error: no Python 3.11 or later was found in PATH."
        say "remedy: install one (Debian, Ubuntu: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python3 ..."
    fi
    return 1
}

command -v git >/dev/null 2>&1 || {
    say "error: git was not found in PATH; the orchestrator works with it."
    say "remedy: install git (Debian, Ubuntu: apt-get install git)."
    exit 1
}

# A venv whose Python has gone (an upgrade, a copied directory) is made anew.
if ! { [ -x "$venv/bin/python" ] && new_enough "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1; }; then
    python=$(find_python)
    say "making $venv with $("$python" --version 2>&1) ..."
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi

say "installing orchestrator into $venv ..."
"$venv/bin/python" -m pip install -qq --editable "$what" || {
    say "error: pip could not install $what (its own message stands above)."
    say "remedy: check the network or the package index that pip is configured to use, then run the same command again."
    exit 1
}
touch "$stamp"
