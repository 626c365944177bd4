"""From records to a table, a sentence and charts. Never imports torch.

study     which records are judged together
fairness  what must be equal between them
stats     estimates with their uncertainty
arms      what is known of each arm: times, speedup, efficiency, accuracy
report    the table and the sentence
charts    the pictures
"""
