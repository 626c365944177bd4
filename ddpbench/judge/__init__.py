"""Numbers: from the records of a study to estimates with intervals, and to conclusions.

files       which files are records, and which study is the newest
fairness    what must be equal between runs that are compared
study       the runs that are judged together, and why others are left out
epochs      figures of one run: which epochs count, seconds per epoch and step
stats       estimates and their intervals
arms        time, speedup, efficiency and accuracy of every arm
outcome     whether parallel training pays
comparison  the main parallel arm against the reference
breakdown   where the time of a parallel arm goes
scaling     strong and weak scaling
sweep       from which batch size parallel training pays
ranks       what each rank does in an epoch
learning    loss curves, and accuracy by class
cautions    what a reader must know before believing a study
judgement   all of it in one value, from which `show` makes every output
gates       limits that a user requires of a study

It may import the ground (the files in ddpbench/ itself), and never torch or `show`.
"""
