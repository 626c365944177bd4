"""Is this machine ready, or are these hosts? `bash launch.sh check` looks for some seconds, and starts no study.

`python -m ddpbench` calls it. It may import the ground, how `comm` shares memory and finds interfaces, which files of
data `tasks` fetches, the line between `hosts`, and the world of `train` for ranks that exchange data. Only what the
processes `check.worker` and `check.exchange` import may import torch: a torch that hangs or crashes is a finding.

main      the command: from its flags to the screen or the JSON, and the exit code
look      gathers the facts that need no torch; asking: those of the worker
worker    the process that imports torch; it exchanges data with a twin over loopback and over shared memory (by twin)
asked     how such a process begins
facts     what was measured; judging: what that means and what to do about it; report: how it is told

several   the same on several hosts: leading is host 0's part, following that of every other host
host      what host 0 may ask a host; network: its interfaces; exchanger: starts and asks the exchange
exchange  the process that exchanges data with another host, as ranks do
gathered  what was found on all hosts; comparing and pairs: what that means; overview: how it is told
"""
