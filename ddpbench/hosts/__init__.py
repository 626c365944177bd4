"""Several hosts that work on one job: who they are, and the line between them. It may import the ground alone.

place     this host's place among those of the job, from flags or from what a scheduler sets
channel   typed messages between two hosts, each authenticated by the secret of the job
messages  what hosts tell each other
keys      what ranks of all hosts tell each other in order to meet
ear       what another host hears from host 0
server    host 0's end of the line: who is here, who is lost, and the keys
waiting   host 0 waits until all are here
"""
