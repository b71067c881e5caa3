"""Pictures that were drawn before, and pictures that are being drawn for somebody else right now.

Read in this order:

    lookup.py    which stored pictures may answer a request: what it says, and what follows
    key.py       what makes two requests the same
    result.py    what is kept of a drawing, and the entity tag it is known by
    worth.py     which result leaves when there is no room: GreedyDual-Size-Frequency
    flights.py   single-flight: who draws, who waits, and what becomes of the others when one of them leaves
    table.py     what a row is, and why a crash leaves no file behind
    rows.py      what is said to the database
    store.py     rows and files together: find, put, sweep
    claims.py    single-flight across replicas
    memory.py    the results that were asked for last, without rows and files
    results.py   what the story asks: stored, or drawn once, and stored

The first five know neither clock, database nor files.
"""
