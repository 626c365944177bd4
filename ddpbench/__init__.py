"""What stands behind baseline_train.py, ddp_train.py and compare.py.

errors       one line for what went wrong, and its exit code
words        text for terminals of any encoding
needs, install, packages, venv   before anything is installed: what is missing, and how to get it
__main__     the commands of `python -m ddpbench`, which `launch.sh` becomes

study/       the orchestrator: plans a study, starts its runs, supervises them; never imports torch
questions    what it asks, and the answers: typed
notes        what a run tells it, and what it hands to a run: typed
variables    environment variables that would change a study: dropped, or recorded

process      the life of a training process: it stops when told, ends with its parent, tells how it ended
watchdog     a process beside it, which ends it when it hangs
agent        torchrun's agent for one attempt of a run
probe        answers the orchestrator's questions: asks torch
memory       memory that processes share, without a name
config       what a run can be told; the command line is made from it
files        the one atomic writer, and one writer at a time
fetch        raw files of a data set, found or downloaded, and verified
data         those files as tensors; batches, the same samples in step k at every world size
models       networks by name
optim        optimizers and learning-rate schedules by name
world        who am I among the ranks; with the agent, the only user of torch.distributed
peers        what ranks of one machine know of each other without asking: shared memory, and who lives
shm          gradients reduced in that memory
clock        timed regions, device-synchronised, monotonic
startup      how far a process has come on its way to the first step
engine       train_epoch, evaluate, fit: one loop for both scripts, no rank tests in it
checkpoint   what a run needs to go on: one file per generation, verified, never unpickled
checkpointer when a run saves, and when it stops: after the same step on every rank
runs         the runs of a folder: names, and which of them a new attempt goes on with
faults       faults on purpose, for tests; inject: losses on purpose
reduction    how long a rank waits for gradients, timed inside the run
progress     what a person sees while a run goes on
runlog       measurements of one run, gathered over ranks into its record

environment  hardware, versions, threads, load, commit
record       the JSON schema: the seam between training and judging
arm          a way of training: what runs have in common but for their seed
judge/       records to table, sentence and charts: never imports torch
"""

__version__ = "0.1.0"
