#!/usr/bin/env bash
# The one test command: makes the environment, then ruff and pytest on all cores. `--fast` leaves out the slow tests;
# other arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/environment.sh
python=$(project_python)

arguments=()
for argument in "$@"; do
  if [[ $argument == --fast ]]; then arguments+=(-m "not slow"); else arguments+=("$argument"); fi
done

export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}  # the models are tiny: threads would only wait for one another

"$python" -m ruff check .
"$python" -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder ${arguments[@]+"${arguments[@]}"}
