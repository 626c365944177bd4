#!/usr/bin/env bash
# The whole experiment on a fresh machine: set up, train every arm in turn, compare. See usage below.
set -euo pipefail
cd "$(dirname "$0")"

usage() {
  cat <<'TEXT'
bash launch.sh [FLAGS]        train every arm once per seed, then compare: the answer and a report
bash launch.sh sweep [FLAGS]  short timed runs over batch sizes: from which global batch does it pay?
bash launch.sh test           run the tests; arguments after it go to pytest
bash launch.sh --help         this page

Arms
  baseline, 1 thread       one process on one core
  baseline, all cores      one process on every core; the best single process is the reference
  ddp N x T                N ranks of T threads under torchrun: shm and gloo on CPUs, nccl on GPUs
  ceiling N x T            a control: the same N ranks, but they never communicate
  timed                    short controls at other batch sizes: they explain the time, and no accuracy counts
  data parallel            nn.DataParallel, where there is a GPU

Flags, passed on to both training scripts (defaults: python baseline_train.py --help)
  --model cnn|cnn-small|mlp          --optimizer adamw|sgd       --device auto|cpu|cuda
  --dataset mnist|fashion-mnist|synthetic                        --data-dir DIR
  --epochs N                         --lr X                      --results DIR
  --global-batch N                   --schedule one-cycle|constant
  --target-accuracy X                --label-smoothing X
  --precision fp32|bf16|fp64         --timeout-s N               --channels-last | --no-channels-last
  --checkpoint-every 60s|500         --resume    go on with the newest unfinished study of this command

Environment
  SEEDS="0 1 2"            one run of every arm for each seed
  WORLD_SIZES="2 4"        ranks of the ddp arms; default: every GPU, or up to four ranks sharing the cores
  BATCHES="64 256 1024"    global batches of a sweep
  RESTARTS=3               how often torchrun starts a run's ranks again, from its newest checkpoint
  Relative folders are taken from the folder of launch.sh.

Set-up uses the current Python environment if it has all that pyproject.toml asks for, else it makes .venv.
The original experiment: bash launch.sh --model mlp --global-batch 16 --epochs 10
Exit codes: 0 complete, 1 a gate failed, 2 bad input, 3 data or checkpoints invalid, 4 training failed,
  5 numbers not finite, 6 a rank hung, 75 stopped by SIGTERM and saved (--resume), 128+n by another signal n.
TEXT
}

say() { printf 'launch.sh: %s\n' "$1" >&2; }

# Choose a Python that meets every requirement of pyproject.toml, making .venv where none does. Sets $python.
set_up() { # set_up [dev]
  local missing
  for python in python3 .venv/bin/python; do
    command -v "$python" >/dev/null || continue
    missing=$("$python" -m ddpbench.needs "$@") || continue
    [[ -n $missing ]] || return 0
  done
  command -v python3 >/dev/null || { say "python3 is not installed; install Python 3.10 or later"; exit 2; }
  if [[ ! -x .venv/bin/python ]]; then
    missing=$(python3 -m ddpbench.needs "$@") || exit 2
    say "making .venv (the current environment lacks: ${missing//$'\n'/ })"
    python3 -m venv .venv || { rm -rf .venv; say "python3 cannot make .venv; on Debian: apt-get install python3-venv"; exit 2; }
  fi
  python=.venv/bin/python
  mapfile -t missing < <("$python" -m ddpbench.needs "$@")
  say "installing ${missing[*]}"
  "$python" -m pip install --disable-pip-version-check --progress-bar off --quiet "${missing[@]}" \
    || { say "pip could not install into .venv; see its lines above"; exit 2; }
}

# Run one training. It ends with us, however we end: DDPBENCH_PARENT tells it whose end to wait for.
child=
train() {
  local code=0
  DDPBENCH_PARENT=$$ "$@" & child=$!
  wait "$child" || code=$?; child=
  ((code > 128)) || return "$code"
  say "the run was ended by signal $((code - 128)) (9: often out of memory, 14: no step within --timeout-s)"
  return $((code == 128 + 14 ? 6 : 4))
}

stop() { # stop CODE: let the run save and end; a further signal changes nothing
  trap '' HUP INT TERM
  local code=$1 ended=0
  [[ -z $child ]] || { kill -TERM "$child" 2>/dev/null && wait "$child" 2>/dev/null || ended=$?; }
  ((code != 143 || ended != 75)) || code=75
  say "stopped; finished runs are in ${results:-results}; the same command with --resume goes on"
  exit "$code"
}

# What would make torchrun, or a library below it, do something else than we say.
ranks='(LOCAL_|GROUP_|ROLE_)?(RANK|WORLD_SIZE)'
mapfile -t dropped < <(compgen -e | grep -E "^(PET_.*|TORCH_?ELASTIC_.*|GLOO_.*|MASTER_(ADDR|PORT)|PYTHON_EXEC|DDPBENCH_(NOTES|STORE)|$ranks)\$")
unset "${dropped[@]}"

if [[ ${1-} == test ]]; then
  set_up dev
  exec "$python" -m pytest "${@:2}"
fi
for word in "$@"; do
  [[ $word != -h && $word != --help ]] || { usage; exit 0; }
done

batches=
if [[ ${1-} == sweep ]]; then
  batches=${BATCHES-64 128 256 512 1024}
  shift
fi
set_up
[[ -z ${dropped[*]} ]] || say "ignoring from the environment: ${dropped[*]}"
[[ ${RESTARTS-3} =~ ^[0-9]{1,4}$ ]] || { say "RESTARTS=\"$RESTARTS\" must be a whole number from 0 up"; exit 2; }
trap 'stop 129' HUP
trap 'stop 130' INT
trap 'stop 143' TERM

results=
carry_out() { # carry_out BATCHES FLAGS...: plan, then run every line of the plan; a further call adds to the study
  local plan runs number=0 kind ranks threads told label flags
  plan=$("$python" -m ddpbench.plan "${SEEDS-0 1 2}" "${WORLD_SIZES-}" "$1" "$results" "${@:2}")
  { IFS= read -r results; mapfile -t runs; } <<<"$plan"
  [[ -n ${lock-} ]] || exec {lock}<"$results/plan.tsv"
  flock --nonblock "$lock" || { say "$results is in use by another launch.sh; wait for it"; exit 2; }
  for run in "${runs[@]}"; do
    IFS=$'\t' read -r kind ranks threads told label <<<"$run"
    number=$((number + 1))
    printf '\n[%d/%d] %s\n' "$number" "${#runs[@]}" "$label"
    read -ra flags <<<"$told"
    flags=("${@:2}" --results "$results" "${flags[@]}")
    if [[ $kind == ddp ]]; then
      train "$python" -m ddpbench.launcher "$ranks" "$threads" "${RESTARTS-3}" "${flags[@]}"
    else
      train "$python" baseline_train.py --threads "$threads" "${flags[@]}"
    fi
  done
}

carry_out "$batches" "$@"
if [[ -n $batches ]]; then
  predicted=$("$python" compare.py --predict "$results")
  if [[ -n $predicted ]]; then carry_out "$predicted" "$@"; fi
fi
printf '\n'
"$python" compare.py "$results"
printf 'took %d min %d s\n' $((SECONDS / 60)) $((SECONDS % 60))
