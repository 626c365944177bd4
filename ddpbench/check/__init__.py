"""Is this machine ready? `bash launch.sh check` looks at it for some seconds, and starts no study.

`python -m ddpbench` calls it. It may import the ground, how `comm` shares memory, and which files of data `tasks`
fetches. Only what the process `check.worker` imports may import torch: a torch that hangs or crashes is a finding.

main      the command: from its flags to the screen or the JSON, and the exit code
look      gathers the facts that need no torch; asking: those of the worker
worker    the process that imports torch; it exchanges data with a twin over loopback and over shared memory (by twin)
facts     what was measured; judging: what that means and what to do about it; report: how it is told
"""
