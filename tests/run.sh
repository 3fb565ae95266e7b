#!/usr/bin/env bash
# The one test command: makes the environment, then ruff and pytest on all cores. `--fast` leaves out the slow tests,
# `--variants` adds what is promised again in another way, `--large` that and those that need 17 GB of memory; other
# arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/environment.sh
python=$(project_python)

chosen="not large and not variant" arguments=()
for argument in "$@"; do
  case $argument in
    --fast) chosen="not large and not variant and not slow" ;;
    --variants) chosen="not large" ;;
    --large) chosen="" ;;
    *) arguments+=("$argument") ;;
  esac
done

export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}  # the models are tiny: threads would only wait for one another

"$python" -m ruff check .
"$python" -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder -m "$chosen" ${arguments[@]+"${arguments[@]}"}
