#!/usr/bin/env bash
# check.sh [ci|quick|full]: explore transition.pml case by case; exit 0 only when every verdict is the expected one.
# expected.txt lists the cases. JOBS of them run at once (default: one a core); one needs up to 2 GB, in `full` 6 GB.
set -uo pipefail
cd "$(dirname "$0")" || exit 2
export MODEL=$PWD/transition.pml
MEGABYTES=14000

# --- one case: prints its line, exit 0 when it is as expected -------------------------------------------------

build() { # flags gcc-flags condition: leaves ./pan
    { [ -z "$3" ] || echo "#define REACH ($3)"; cat "$MODEL"; } > transition.pml
    # shellcheck disable=SC2086  # flags are words
    spin $1 -a transition.pml > spin.out 2>&1 || { cat spin.out >&2; exit 2; }
    # shellcheck disable=SC2086
    gcc -w "-DMEMLIM=$MEGABYTES" $2 -o pan pan.c || exit 2
}

complete() { ! grep -q 'max search depth too small\|out of memory' out; }

figures() {
    awk '/states, stored/ && !s {s = $1} /depth reached/ {sub(/.*depth reached /, ""); sub(/,.*/, ""); d = $0}
        /total actual memory/ {m = $1} /elapsed time/ {t = $4}
        END {printf "%d states, depth %d, %d MB, %.0f s", s, d, m, t}' out
}

holds() { # flags: every asserted invariant, and no state from which nothing goes on
    build "$1" "-O2 -DSAFETY -DCOLLAPSE" ""
    ./pan -m200000 -n > out 2>&1
    found=broken
    if grep -q 'errors: 0' out; then complete && found=holds || found=incomplete; fi
    said="$(figures) $(grep -m1 '^pan:[0-9]*:' out)"
}

ends() { # flags: no stuck state, and no cycle: every run is finite and ends in a terminal stage
    build "$1" "-O2 -DSAFETY" ""
    ./pan -m200000 -n -A > out 2>&1
    found=progress said=$(figures)
    if grep -q '^pan:[0-9]*: invalid end state' out; then found=stuck; return; fi
    complete || { found=incomplete; return; }
    build "$1" "-O2 -DNP" ""
    ./pan -m400000 -n -A -E -l > out 2>&1
    said=$(figures)
    grep -q '^pan:[0-9]*: non-progress cycle' out && found=cycle
    complete || found=incomplete
}

reached() { # flags condition: a search that never comes there would prove nothing
    build "$1 -DCHK=4096" "-O1 -DSAFETY" "$2"
    ./pan -m200000 -n -E > out 2>&1
    found=never said=""
    grep -q 'assertion violated' out && found=reached
}

breaks() { # flags invariants: each of them alone, under the removed protection
    found="" said=""
    local number
    for number in $2; do
        build "$1 -DCHK=$((1 << (number - 1)))" "-O1 -DSAFETY" ""
        ./pan -m200000 -n -E > out 2>&1
        grep -q 'assertion violated' out && found="$found $number"
    done
    found=${found# }
}

one_case() { # kind | name | flags | expected
    local kind name flags expected mark=ok found said
    IFS='|' read -r kind name flags expected <<< "$1"
    read -r kind <<< "$kind"; read -r name <<< "$name"; read -r expected <<< "$expected"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    cd "$work" || exit 2
    case $kind in
        holds) holds "$flags"; wanted=holds ;;
        ends) ends "$flags"; wanted=$expected ;;
        reached) reached "$flags" "$expected"; wanted=reached ;;
        breaks) breaks "$flags" "$expected"; wanted=$expected ;;
        *) echo "expected.txt: no such kind of case: $kind" >&2; exit 2 ;;
    esac
    [ "$found" = "$wanted" ] || mark=WRONG
    printf '%-5s  %-7s %-52s %s%s\n' "$mark" "$kind" "$name" "$found" "${said:+; $said}"
    [ "$mark" = ok ]
}

if [ "${1:-}" = --case ]; then one_case "$2"; exit; fi

# --- all cases of a mode -----------------------------------------------------------------------------------

mode=${1:-quick}
case $mode in ci) chosen='ci' ;; quick) chosen='ci|quick' ;; full) chosen='ci|quick|full' ;; *) echo "check.sh [ci|quick|full]" >&2; exit 2 ;; esac
for tool in spin gcc; do
    command -v $tool > /dev/null || { echo "the model needs $tool: apt-get install spin gcc" >&2; exit 2; }
done

began=$SECONDS
lines=$(mktemp)
cpu=$(mktemp)
trap 'rm -f "$lines" "$cpu"' EXIT
grep -E "^($chosen) +\|" expected.txt | sed -E 's/^[a-z]+ +\| *//' |
    xargs -d '\n' -P "${JOBS:-$(nproc)}" -n 1 bash check.sh --case | tee "$lines"
wanted=$(grep -cE "^($chosen) +\|" expected.txt)
good=$(grep -c '^ok ' "$lines")
times > "$cpu"
spent="$((SECONDS - began)) s, processor $(tail -n 1 "$cpu")"
echo "model, $mode: $good of $wanted cases as expected; $spent ($(spin -V), gcc $(gcc -dumpversion))"
[ "$wanted" -gt 0 ] && [ "$good" = "$wanted" ]
