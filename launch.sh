#!/bin/sh
# The whole experiment on a fresh machine: find a Python, make the environment, hand over to python -m ddpbench.
set -eu
say() { printf 'launch.sh: %s\n' "$1" >&2; }

case ${PYTHON-} in '' | /*) ;; */*) PYTHON=$PWD/$PYTHON ;; esac # a path counts from the caller's folder
case $0 in */*) here=${0%/*}/ ;; *) here=./ ;; esac
unset CDPATH # cd would look there first
cd -- "$here"
for word in "$@"; do
  case $word in -h | --help) exec cat ddpbench/help.txt ;; esac
done
# With these variables Python uses another library, or starts or ends differently. None of them is meant for us.
unset PYTHONHOME PYTHONPLATLIBDIR PYTHONEXECUTABLE __PYVENV_LAUNCHER__ PYTHONSAFEPATH PYTHONCASEOK
unset PYTHONINSPECT PYTHONSTARTUP PYTHONOPTIMIZE PYTHONWARNINGS

# An environment with all packages is used as it is. "test" needs the packages for development too.
dev=
[ "${1-}" != test ] || dev=dev
start_if_complete() { # PYTHON WORDS...
  python=$1
  shift
  if "$python" -m ddpbench.setup.needs ${dev:+dev} >/dev/null 2>&1; then exec "$python" -m ddpbench "$@"; fi
}
start_if_complete "${PYTHON:-python3}" "$@"
[ -n "${PYTHON-}" ] || start_if_complete .venv/bin/python "$@"

# Otherwise the newest Python makes or completes .venv, and then starts the program there.
newest=0 python=python3
consider() { # PYTHON: remember it if it is newer than those before
  version=$("$1" -c 'import sys; print(sys.version_info[0] * 1000 + sys.version_info[1])' 2>/dev/null) || return 0
  if [ "$version" -gt "$newest" ] 2>/dev/null; then newest=$version python=$1; fi
}
consider "${PYTHON:-.venv/bin/python}"
if [ -z "${PYTHON-}" ] && [ "$newest" -lt 3010 ]; then
  for minor in '' .20 .19 .18 .17 .16 .15 .14 .13 .12 .11 .10; do consider "python3$minor"; done
  consider python
fi
[ "$newest" -lt 3010 ] || exec "$python" -m ddpbench.setup.install "$@"
problem="does not start"
[ "$newest" -eq 0 ] || problem="is Python $((newest / 1000)).$((newest % 1000))"
say "${PYTHON:+PYTHON=}${PYTHON:-$python} $problem; Python 3.10 or later is needed: install one, or name one with PYTHON="
exit 2
