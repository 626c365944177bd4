"""Words and pictures: a judgement as text, as charts, as one page, and as files for other programs.

layout       paragraphs and tables within the width of a terminal
phrases      words and formats that several outputs share
figures      the metric of a task in words and in figures
findings     rows of the answer: speed, what is learnt, a whole run, cost
reasons      rows of the answer: why, why the outcome is open, and what to do
crossover    the answer of a sweep
answer       the answer of a study: title, subject and rows
strip        an interval on a line from slower to faster
tables       the tables, as rows of text
report       the text that compare.py prints
explain      the text of --explain: a paragraph for each term of a breakdown
charts/      the pictures
drawing      charts as SVG inside the page
sections     the sections of the page
html         the page, report.html
markdown     summary.md
summary      summary.json
schema       the names in it
outputs      all files of a study, written beside its records

It may import the ground (the files in ddpbench/ itself) and `judge`, and never torch.
"""
