"""What stands behind baseline_train.py, ddp_train.py and compare.py.

errors       one line and exit code 2 for what the user can mend
config       what a run can be told; the command line is made from it
files        the one atomic writer
fetch        raw files of a data set, found or downloaded, and verified
data         those files as tensors; batches, the same samples in step k at every world size
models       networks by name
optim        optimizers and learning-rate schedules by name
world        who am I among the ranks; the only user of torch.distributed and of torchrun's environment
clock        timed regions, device-synchronised, monotonic
startup      how far a process has come on its way to the first step
engine       train_epoch, evaluate, fit: one loop for both scripts, no rank tests in it
progress     what a person sees while a run goes on
runlog       measurements of one run, gathered over ranks into its record
environment  hardware, versions, threads, load, commit
record       the JSON schema: the seam between training and judging
arm          a way of training: what runs have in common but for their seed
plan         which arms a study has, and how long it will take
judge/       records to table, sentence and charts: never imports torch
"""

__version__ = "0.1.0"
