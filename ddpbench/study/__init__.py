"""The orchestrator's process: it plans a study, starts its runs and supervises them.

`python -m ddpbench` calls it. It may import the modules of ddpbench itself, and never torch: it waits for minutes, and
must take little memory meanwhile.

main      a study, from the command line to the answer; one_run: a single run in the same way
options   what the command line asks for
draft     what would run; by designs (which arms, in which order), inquiry (what torch knows) and forecast (how long)
plan      the jobs of a study, and which of them are left; folders: where they are kept
study     a study in its folder: job after job, then judging (compare.py)
runner    one run: start it, wait, pass signals on, start it again or not, as attempts decides
reporter  what a study prints and writes to study.jsonl (events); by preview, run_line and screen
commands  the command of a run
"""
