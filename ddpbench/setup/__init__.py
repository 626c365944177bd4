"""What runs before the packages are there: it finds out what is missing and installs it.

`launch.sh` calls it. It uses the standard library alone, and may import errors and words.
"""
