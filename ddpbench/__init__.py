"""The map of ddpbench, by process. Each room says in its __init__.py what it is for and what it may import.

bash launch.sh        setup/    before the packages are there: finds a Python, makes .venv
  becomes
python -m ddpbench    study/    the orchestrator: plans a study, starts its launches and runs, supervises them; no torch
  starts, one after the other
  train.probe                   answers what only torch can tell
  train.agent                   torchrun's agent, for one attempt of one launch or run; starts the ranks
  train.turns         train/    one rank of a launch, in which all arms take turns
  judge.look          judge/    what the launches so far say
  baseline_train.py   train/    one process that trains
  ddp_train.py        train/    one rank that trains
    uses              comm/     how gradients of ranks are combined
                      tasks/    what is trained: network, data and loss of a task
  compare.py          judge/    from records to numbers
                      show/     from numbers to words, pictures and files

On several hosts every host runs the same line: host 0 is the orchestrator, and the others do as it says.
  study and check     hosts/    the line between hosts: who is here, who is lost, what ranks tell each other to meet

python -m ddpbench    check/    the command `check`: looks at this machine for some seconds; no torch
  starts
  check.worker                  imports torch, and exchanges data with a twin

python -m ddpbench    predict/  the command `predict`: what several hosts would give, from records; no torch

The ground: files that every room may import.
errors        errors by what they mean for a run, each with its exit code
words         text for terminals of any encoding; command: the words that start this program, and where its scripts lie
fields        types of the values that a record may hold
settings      what a run computes; config: how it is carried out, and the command line; flags: a field as a flag
record        the JSON record of a run: what training and judging share; turns: that of a launch
link          a measured network
taskfile      the file of a task, read without running it; findings: what the check of a task says
arm           a way of training: what runs have in common but for their seed
notes         what a run tells its supervisor, and what it is handed; questions: what the orchestrator asks the probe
environment   cores, memory and CPU time of this process; variables: which of the user's change a study
processes     what the kernel knows about a process
files         the one atomic writer, and one writer at a time; lease: the same for a folder that several hosts see
memory        what processes share without a name
"""

__version__ = "0.2.0"
