#!/usr/bin/env bash
# Usage: tools/deploy_self.sh ROOT
# The deploy command of the orchestrator's own environment, run in a checkout of the version that $ORCH_SHA names; the
# first installation is made by the same words, by hand. See docs/self-deploy.md.
#   ROOT/orchestrator.env   the operator's settings, NAME=value
#   ROOT/install            optional: installs CHECKOUT into RELEASE instead of `python3 -m venv` and pip
#   ROOT/restart            optional: restarts the service instead of `orch up --replace`
#   ROOT/releases/SHA       one virtual environment a version; ROOT/current is a link to the one that runs
set -euo pipefail

root=$(cd "$1" && pwd) sha=${ORCH_SHA:?names the version to install}
release=$root/releases/$sha

# Complete ones are left alone: agents that an older version started still use it.
if [ ! -e "$release/complete" ]; then
    rm -rf "$release"
    mkdir -p "$root/releases"
    if [ -x "$root/install" ]; then
        "$root/install" "$PWD" "$release"
    else
        python3 -m venv "$release"
        "$release/bin/python" -m pip install --quiet "$PWD[embedded]"
    fi
    printf 'ORCH_RELEASE=%s\n' "$sha" > "$release/release.env"
    touch "$release/complete"
fi

ln -sfn "releases/$sha" "$root/current.new"
mv -T "$root/current.new" "$root/current"

if [ -x "$root/restart" ]; then
    exec "$root/restart"
fi
# What tells a deploy command about its deployment is no setting.
unset ORCH_SHA ORCH_IMAGE ORCH_ENVIRONMENT ORCH_DEPLOYMENT
set -a
. "$root/orchestrator.env"
. "$release/release.env"
set +a
cd "$root"  # the checkout is thrown away after the deploy
# A session of its own: the end of the deploy must not be the end of what it brought up.
setsid "$root/current/bin/orch" up --replace </dev/null >>"$root/up.log" 2>&1 &
