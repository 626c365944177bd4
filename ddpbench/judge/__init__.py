"""From records to numbers: speed-up, accuracy and where the time went, each with its interval.

`show` and compare.py call it. It may import the ground, and never torch.
"""
