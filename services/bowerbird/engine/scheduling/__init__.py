"""Who is next, and who shares a step: a policy without threads, arrays and clocks. `core` asks it.

work.py         what is scheduled: requests, their tasks, and batches of them
scheduler.py    the policy: class, flow, urgency; which steps share a call
fair_queue.py   a fair share for every flow
deadlines.py    one flow's order: short before long, as long as that makes nobody late
costs.py        what a piece costs, measured
ceiling.py      how many rows a batch may have, after memory ran out
"""
