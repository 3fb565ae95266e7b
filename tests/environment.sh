# Sourced by launch_training.sh and tests/run.sh: `project_python` prints the Python of the project's environment and
# makes it first where it is missing or older than requirements.txt. PYTHON names the interpreter it is made with.
project_python() {
  local venv=.venv stamp=.venv/requirements.sha256 wanted
  wanted=$(sha256sum requirements.txt | cut -d' ' -f1)
  if [[ ! -f $stamp || $(cat "$stamp") != "$wanted" ]]; then
    printf '\n== environment: %s, from requirements.txt (about 2 GB with a CUDA build of torch; minutes)\n' "$venv" >&2
    "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
      echo "error: Python 3.11 or newer is needed; name one with PYTHON=/path/to/python3.11 $0" >&2
      return 1
    }
    "${PYTHON:-python3}" -m venv "$venv" >&2 &&
      "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement requirements.txt >&2 || {
      echo "error: the environment could not be made; $venv is left as it is and completed by the next run" >&2
      return 1
    }
    echo "$wanted" >"$stamp"
  fi
  echo "$venv/bin/python"
}
