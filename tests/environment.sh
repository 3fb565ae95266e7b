# Sourced by launch_training.sh and tests/run.sh: `project_python` prints the Python of the project's environment and
# makes it first where it is missing or older than requirements.txt. PYTHON names the interpreter it is made with.

# pip would compile all 17,000 files of the libraries on one core; the first process that loads one does it as well.
unset PYTHONDONTWRITEBYTECODE

project_python() {
  if ! environment_is_current; then
    "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
      echo "error: Python 3.11 or newer is needed; name one with PYTHON=/path/to/python3.11 $0" >&2
      return 1
    }
    one_at_a_time .venv
    environment_is_current || make_environment >&2 || {
      echo "error: the environment could not be made; .venv is left as it is and completed by the next run" >&2
      return 1
    }
    exec 9>&-
  fi
  echo .venv/bin/python
}

environment_is_current() {
  [[ -f .venv/requirements.sha256 && $(cat .venv/requirements.sha256) == "$(requirements_digest)" ]]
}

requirements_digest() { sha256sum requirements.txt | cut -d' ' -f1; }

make_environment() {
  printf '\n== environment: .venv, from requirements.txt (about 2 GB with a CUDA build of torch; minutes)\n'
  "${PYTHON:-python3}" -m venv .venv &&
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --requirement requirements.txt &&
    requirements_digest >.venv/requirements.sha256
}

# Go on alone with a folder until descriptor 9 is closed: another run, or machine that has the same disk, waits.
one_at_a_time() {
  mkdir -p "$1" && exec 9>"$1/.lock" || return
  command -v flock >/dev/null || return 0
  flock --nonblock 9 || {
    echo "waiting for another run that is at work in $1" >&2
    flock 9
  }
}
