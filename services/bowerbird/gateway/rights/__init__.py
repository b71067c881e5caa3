"""A person's rights: all that is kept about a tenant, or about one of its end users, is given to them, or erased.

    subject.py    whom it is about
    tables.py     erasures and exports
    fence.py      what was begun before an erasure is not kept after it
    erasures.py   erasures as rows: asked for, carried by one replica at a time, finished; each in the audit log
    exports.py    exports as rows: who may fetch an archive, until when
    holding.py    what a room says of the things that it keeps: end, remove, show
    holdings/     what each room keeps
    erasing.py    the story of one erasure
    carrying.py   who carries it, and what every replica does meanwhile
    archive.py    an export's archive, made while it is fetched
    opening.py    all of it for a gateway process

A room that begins to keep something about somebody adds a holding: a test holds the tables of the database against
them.
"""
