"""The orchestrator's process: it plans a study, starts its runs and supervises them.

`bash launch.sh` calls it, by `python -m ddpbench`. It waits for minutes in little memory: it never imports torch, and
starts training and judging as processes, by arguments and typed JSON.

options   what a study is asked for, on the command line and in the environment
designs   which arms at which batch sizes: pure functions
plan      the jobs of a study, in its folder; done is what an equal complete record covers
inquiry   asks torch, in a process of its own
forecast  how long runs will take, learning from those that have ended
decide    what the end of an attempt means: pure functions
runner    one run: start, wait, pass signals on, again or not
events    study.jsonl: what happened, and one study at a time in a folder
screen    what a person sees
main      all of it in order
"""
