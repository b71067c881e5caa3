"""What is kept about people, room by room.

    rows.py      rooms that keep rows only
    jobs.py      jobs, what happened to them, their pictures
    results.py   pictures that are kept to answer again
    files.py     uploaded files, batches, and what both say line by line
    tenant.py    what is the tenant's alone: usage, keys, the tenant itself

`opening.all_holdings` is the whole of it, and the order in which it goes.
"""
