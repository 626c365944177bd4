"""How the gradients of ranks are combined, and what ranks of one machine share to do it.

`train` and the scripts call it. It knows the ranks only through `Ranks`, and may import the ground.
"""
