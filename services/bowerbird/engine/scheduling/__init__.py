"""Who is next, and who shares a step: a policy without threads, arrays and clocks. `core` asks it.

work.py         what is scheduled: requests, their tasks, and batches of them
scheduler.py    the policy: class, flow, shortest first; which steps share a call
fair_queue.py   a fair share for every flow
costs.py        what a piece costs, measured
"""
