"""What runs before the packages are installed: it finds out what is missing, and installs it.

`launch.sh` starts it. It uses the standard library alone, and may import ddpbench.errors and ddpbench.words.
"""
