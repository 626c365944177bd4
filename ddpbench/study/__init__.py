"""The orchestrator's process: it plans a study, starts its runs and supervises them.

`python -m ddpbench` calls it. It may import the modules of ddpbench itself, and never torch: it waits for minutes, and
must take little memory meanwhile.

main      a study, from the command line to the answer; one_run: a single run in the same way
options   what the command line asks for; layouts: how ranks are spread over hosts
draft     what would be measured; by designs (which arms, in which order) and inquiry (what torch knows)
plan      the arms that take turns, the whole runs, and which of them are left; folders: where they are kept
study     a study in its folder: launches, then runs, then judging (compare.py)
runner    one launch or run: start it, wait, pass signals on, start it again or not, as attempts decides
warm      launches, forked from a server that has torch
reporter  what a study prints and writes to study.jsonl (events); by preview, launch_line, run_line and screen
forecast  how long it will take; commands: the command of a run
"""
