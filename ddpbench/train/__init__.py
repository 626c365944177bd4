"""What runs in a process that trains: its life, the loop, what is measured, and what is saved.

The scripts call it; a study starts it as processes. It may import the ground, `comm` and `tasks`.
"""
