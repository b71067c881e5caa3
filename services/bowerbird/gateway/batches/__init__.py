"""Batches: thousands of requests in one file, each answered by the story of a plain one, when nobody else waits.

    validating ──begin──► in_progress ──► completed        every line has an outcome
        │                     │  │
        └──► failed           │  └──────► expired          24 hours are over; what was not run is told so
        (no line, too many)   └─ cancelling ──► cancelled  what is finished stays

Lines are no jobs: a job keeps its pictures for the one who asks, which here the output file does; and edits and
moderations, which a batch may be of, are none. What jobs have is here too: claims with a lease and an epoch, one fenced
transaction for whatever ends something, tries that know whose fault a failure was.

tables.py    batches, and which of their lines have an outcome
batch.py     the values in which the other files speak
batches.py   as tenants see them: create, get, list, cancel
claims.py    who runs a batch: claim, renew, begin, record, end
segments.py  outcomes become parts of the two files, many in one transaction
running.py   one batch, from its first line that has no outcome to its end
carrying.py  this replica's hands: which batches it runs
retention.py what is removed when
room.py      all of it, opened and closed together
"""
