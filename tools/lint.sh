#!/usr/bin/env bash
# Every check runs even when an earlier one failed, so that one run shows all there is to mend.
set -uo pipefail
cd "$(dirname "$0")/.."

failed=()
check() {
    local name=$1
    shift
    "$@" || failed+=("$name")
}

check "ruff check" ruff check --quiet .
check "ruff format" ruff format --quiet --check --diff .
check "mypy" mypy --no-error-summary
check "import contracts" lint-imports --no-logo
check "own rules" python -m tools.lint

if [ ${#failed[@]} -gt 0 ]; then
    printf 'lint: failed: %s\n' "$(IFS=,; echo "${failed[*]}")" >&2
    exit 1
fi
echo "lint: all checks passed"
