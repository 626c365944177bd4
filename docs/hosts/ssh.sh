#!/usr/bin/env bash
# Start the same line on several hosts by ssh. The first host leads: its exit code is that of this script.
#   bash docs/hosts/ssh.sh HOST HOST... -- WORDS OF LAUNCH.SH
# Every host has this folder in the same place. Ctrl-C, SIGTERM and an ended connection let all hosts save and stop.
# MASTER_ADDR= names the first host for the others, where they know it by another name than ssh does.
set -u
hosts=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do hosts+=("$1") && shift; done
if [ "${#hosts[@]}" -lt 2 ] || [ $# -eq 0 ]; then
  echo "ssh.sh: give two hosts or more, then -- and the words of launch.sh" >&2
  exit 2
fi
shift
secret=${DDPBENCH_SECRET:-$(head -c 24 /dev/urandom | base64)} # goes through ssh's standard input: ps shows no secret
shape=(--nnodes "${#hosts[@]}" --master-addr "${MASTER_ADDR:-${hosts[0]#*@}}")
# What runs on a host: launch.sh, and beside it a reader that sends SIGTERM when the connection ends.
# shellcheck disable=SC2016 # the variables are those of the other host
remote='IFS= read -r DDPBENCH_SECRET; export DDPBENCH_SECRET; exec 3<&0
cd "$1" || exit 2
shift
bash launch.sh "$@" 3<&- & run=$!
{ cat <&3; kill -TERM "$run"; } >/dev/null 2>&1 & reader=$!
wait "$run"; code=$?
kill "$reader" 2>/dev/null
exit "$code"'

lines=$(mktemp -d) open=() pids=()
trap 'rm -rf "$lines"' EXIT
for index in "${!hosts[@]}"; do
  mkfifo "$lines/$index"
  words=$(printf ' %q' bash -c "$remote" launch "$PWD" "$@" "${shape[@]}" --node-rank "$index")
  # shellcheck disable=SC2029 # the words are those of this side, and quoted for the other
  ssh "${hosts[index]}" "$words" <"$lines/$index" &
  pids+=($!)
done
for index in "${!hosts[@]}"; do # after all have been started, so that none holds the line of another
  exec {line}>"$lines/$index"
  open+=("$line")
  printf '%s\n' "$secret" >&"$line"
done
# shellcheck disable=SC2329 # trap calls it
stop() {
  interrupted=yes
  for line in ${open[@]+"${open[@]}"}; do exec {line}>&-; done
  open=()
}
trap stop INT TERM HUP USR1 USR2
for index in "${!hosts[@]}"; do
  interrupted=yes
  while [ -n "$interrupted" ]; do # a signal ends `wait` before the process has ended
    interrupted=
    wait "${pids[index]}"
    code=$?
  done
  [ "$index" -ne 0 ] || first=$code
done
exit "$first"
