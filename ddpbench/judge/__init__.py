"""Numbers: from the records of a study to estimates with intervals, and to conclusions.

files        which files are records, and which study is the newest
fairness     what must be equal between runs and launches that are compared
study        the runs and launches that are judged together, and why others are left out
epochs       figures of one run: which epochs count, seconds per epoch and step
stats        estimates and their intervals
timing       the times of all arms in one shape, from launches of turns or from runs
outcome      what matters to the user, what an interval says, and whether it is enough
arms         speed, efficiency and metric of every arm
comparison   the parallel arm against the reference, with these:
  agreement    turns against whole runs
  cost         money for an epoch
  disturbance  what others took away from the machine, and how long it takes to know more
breakdown    where the time of a parallel arm goes
scaling      strong and weak scaling
hosts        hosts that are not like host 0
sweep        from which batch size on parallel training is faster
learning     loss curves, and the metric by part of the test set
judgement    all of it in one value, from which `show` makes every output
cautions     what a reader must know before believing a study
change       a study against a stored one
gates        limits that a user requires of a study
look         what the launches so far say, for the orchestrator

It may import the ground (the files in ddpbench/ itself), and never torch or `show`.
"""
