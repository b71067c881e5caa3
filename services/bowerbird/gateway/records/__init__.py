"""What must outlive a process: jobs, their events and pictures, idempotency keys, usage, leases.

Read in this order:

    tables.py       what a row is
    database.py     where rows live: a SQLite file or PostgreSQL, one clock, brought to the newest revision at the start
    migrating.py    that, in a process of its own
    sqlite_connection.py  a connection of SQLite that holds nothing when it is closed
    sqlite_reads.py SQLite read in a thread, for what is asked for each request
    rewriting.py    nothing left in its files of what was deleted
    writer.py       many writes, one transaction: what makes a durable submit cheap
    reader.py       many questions, one query
    jobs.py         jobs as callers see them: submit, get, list, cancel
    turns.py        whose jobs are claimed next
    claims.py       who carries a job out, and the fence that lets only its present claimant end it
    uploads.py      pictures that jobs begin with; they are named before they are there, since their jobs are not yet
    job_events.py   what happened to a job, numbered, so that a listener may come back
    idempotency.py  the same key and body, the same answer
    people.py       a tenant's end users, by a keyed name
    usage.py        what was drawn for whom; a job's entry is written in the transaction that ends it
    usage_buffer.py entries of plain requests, kept until the database has them
    leases.py       a name that one process holds at a time, and the epoch by which a former holder is known
    retention.py    what is removed when, without a row or a file that belongs to nothing

Two rules hold everywhere. A row that a process may lose to another carries an epoch, and every write about it states
the epoch it believes in (a fenced write); who was paused, or declared dead, changes nothing when it wakes up. And
nothing is "half": what belongs together is one transaction, files are written before the row that names them and
deleted after it.
"""
