"""From records to a verdict and its reasons. Never imports torch.

files      which files are records
study      which records are judged together
fairness   what must be equal between them
stats      estimates with their uncertainty
arms       what is known of each arm: times, speedup, efficiency, accuracy
breakdown  where the time of a parallel arm went, term by term
scaling    strong and weak scaling side by side
sweep      from which global batch it pays
cautions   what a reader must know before believing it
judgement  all of that, of one study, in one value
outcome, advice, verdict   what it means, in words
layout     text and tables within the width of a terminal
report     the same as text for a terminal
summary    the same for other programs, and gates for CI
charts     the same as pictures
html       the same as one page; outputs writes all files
"""
