# Sourced by the other scripts: gives them a Python environment with wholeword installed.
#
# An active virtual environment is used as it is; otherwise .venv is made. A torch that is there and
# new enough stays, whatever its build. What was installed is remembered by a hash of what asked for
# it, so a second run installs nothing. WHOLEWORD_NO_INSTALL=1 installs nothing at all: the active
# environment, .venv or the Python on the path has what is needed, and no network is asked.

use_environment() {  # $1: extras, such as "[dev]"
  local extras=$1 python=${PYTHON:-python3}
  if [ "${WHOLEWORD_NO_INSTALL:-}" = 1 ]; then
    # shellcheck disable=SC1091
    [ -n "${VIRTUAL_ENV:-}" ] || [ ! -f .venv/bin/activate ] || . .venv/bin/activate
    command -v python >/dev/null || python() { "${PYTHON:-python3}" "$@"; }
    return 0
  fi
  if [ -z "${VIRTUAL_ENV:-}" ]; then
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
      echo "error: $("$python" --version) is too old; install Python 3.11 or newer, or set PYTHON" >&2
      return 1
    }
    [ -x .venv/bin/python ] || "$python" -m venv .venv || return 1
    # shellcheck disable=SC1091
    . .venv/bin/activate
  fi
  local stamp="$VIRTUAL_ENV/.wholeword$extras"
  local wanted
  wanted=$(cat setup.py constraints.txt | python -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest(), end="")')
  if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted$PWD" ]; then
    return 0
  fi
  echo "installing wholeword$extras into $VIRTUAL_ENV"
  local constraints="$VIRTUAL_ENV/constraints.txt"
  if python -c 'import re, sys, torch; sys.exit(tuple(map(int, re.findall(r"\d+", torch.__version__)[:2])) < (2, 11))' 2>/dev/null; then
    grep -v '^torch==' constraints.txt > "$constraints"
  else
    cp constraints.txt "$constraints"
    pip install --quiet --disable-pip-version-check "$(grep '^torch==' constraints.txt)" || return 1
  fi
  pip install --quiet --disable-pip-version-check -c "$constraints" -e ".$extras" || return 1
  printf %s "$wanted$PWD" > "$stamp"
}

explain() {  # $1: how many arguments the script takes; then its arguments. --help prints its first comment
  local most=$1 script
  shift
  script=scripts/$(basename "$0")
  case "${1:-}" in
    -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$script"; exit 0 ;;
    -*) echo "error: $script has no option $1; --help says what it does" >&2; exit 2 ;;
  esac
  [ $# -le "$most" ] || { echo "error: $script takes no argument ${*:$((most + 1)):1}; --help says what it does" >&2; exit 2; }
}
