"""Jobs in this process: accepted by `api/`, kept by `records/`, and carried through here.

request.py    what a job remembers of the request: the body with the prompt as it may be kept, every value settled
outcome.py    how an attempt ended: for good, by the job's own fault, or by somebody else's
carrying.py   claims jobs, tells the story for each, stores the pictures, ends the claim
watching.py   who waits for news of a job, wherever it is carried
backlog.py    how many jobs of a tenant may wait
metrics.py    what waits, for how long, and how attempts end
room.py       all of it, opened and closed together
"""
