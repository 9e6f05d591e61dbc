#!/usr/bin/env bash
# rclicks in one command. Usage:
#   ./run_all.sh          make .venv, install, run the quickstart benchmark, write tables, figures and a page
#   ./run_all.sh test     install the test extra and run all tests (arguments after `test` go to pytest)
#   ./run_all.sh paper    run the full published protocol for whatever data and checkpoints are present
#   ./run_all.sh setup    only make .venv with the test extra
# Every step can be repeated: finished work is not done again.
# Settings: PYTHON (interpreter, 3.11 or newer), RCLICKS_VENV (default .venv), RCLICKS_WORKERS (default: all cores).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

venv=${RCLICKS_VENV:-.venv}
workers=${RCLICKS_WORKERS:-$(python3 -c 'import os; print(os.cpu_count() or 1)' 2>/dev/null || echo 1)}
# The constraints pin everything, in build environments too (pip reads one or the other name, by its version).
export PIP_CONSTRAINT="$PWD/constraints.txt" PIP_BUILD_CONSTRAINT="$PWD/constraints.txt"
export SAM2_BUILD_CUDA=0 PIP_DISABLE_PIP_VERSION_CHECK=1

find_python() {
    for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "run_all.sh: Python 3.11 or newer is needed; set PYTHON=/path/to/python" >&2
    exit 1
}

# install EXTRAS: editable install with these extras, skipped if nothing that decides it has changed.
install() {
    [ -x "$venv/bin/python" ] || "$(find_python)" -m venv "$venv"
    local stamp="$venv/.rclicks-$1" now
    now=$(cat pyproject.toml constraints.txt | sha256sum)
    if [ "$(cat "$stamp" 2>/dev/null)" != "$now" ]; then
        echo "Installing rclicks[$1] into $venv (log: $venv/install.log) ..."
        "$venv/bin/python" -m pip install -e ".[$1]" >"$venv/install.log" 2>&1 || {
            tail -n 20 "$venv/install.log" >&2
            exit 1
        }
        echo "$now" >"$stamp"
    fi
}

case "${1:-quickstart}" in
quickstart)
    install graphcut
    "$venv/bin/rclicks" run quickstart --workers "$workers" --out runs/quickstart
    "$venv/bin/rclicks" table runs/quickstart --format md --out runs/quickstart/table.md
    "$venv/bin/rclicks" table runs/quickstart --format csv --out runs/quickstart/table.csv
    "$venv/bin/rclicks" plot runs/quickstart -o runs/quickstart/figures
    "$venv/bin/rclicks" report runs/quickstart -o runs/quickstart/site
    echo
    echo "Tables   runs/quickstart/table.md, table.csv"
    echo "Figures  runs/quickstart/figures/"
    echo "Page     runs/quickstart/site/index.html (open it in a browser)"
    ;;
setup)
    install test
    ;;
test)
    install test
    shift
    OMP_NUM_THREADS=1 "$venv/bin/python" -m pytest -n 2 --dist loadfile "$@"
    ;;
paper)
    install test
    "$venv/bin/rclicks" doctor
    "$venv/bin/rclicks" run paper --dry-run
    "$venv/bin/rclicks" run paper --workers "$workers" --out runs/paper
    "$venv/bin/rclicks" table runs/paper --format md --out runs/paper/table.md
    "$venv/bin/rclicks" plot runs/paper -o runs/paper/figures
    "$venv/bin/rclicks" report runs/paper -o runs/paper/site
    ;;
*)
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
