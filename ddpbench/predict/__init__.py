"""What several hosts would give, foretold from turns on one host and a measured link: time, money and efficiency.

options    the command line
measured   what the launches of one host say about a rank: its step by batch, what sharing a host costs, its spread
draws      values that are not known exactly
inputs     what a prediction is made from
network    an exchange of gradients, by what the link measured
buckets    the parts in which DDP exchanges gradients, and what of them backward hides
model      all of it in one step, for every number of hosts, drawn many times
foretold   the answer in one value
past       predictions that were made before, beside what was measured later
text       the screen
chart      the picture
main       the command `predict`

It may import the ground (the files in ddpbench/ itself), `judge` and `show`, and never torch.
"""
