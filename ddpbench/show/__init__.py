"""A judgement in words and pictures: verdict, report, charts, one page, and files for other programs.

compare.py calls it. It may import the ground and `judge`, and never torch.
"""
