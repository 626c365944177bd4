"""The orchestrator's process: it plans a study, starts its runs and supervises them.

`python -m ddpbench` calls it. It may import the ground, and never torch: it waits for minutes in little memory.
"""
