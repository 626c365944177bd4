"""What is trained: networks, learning rates, data sets and where their files come from.

The scripts and `train` call it. It may import the ground.
"""
