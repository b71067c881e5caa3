"""Files of tenants: what batches read and write; `/v1/files` shows them.

A file is a sequence of parts, each one object of the picture store and at most a few MiB, so that nothing is ever held
or copied whole: an upload becomes parts as it arrives, an output grows part by part while its batch runs, and a line
that must go is erased by writing its part anew.

tables.py   files and their parts
file.py     what a file is, its names and bounds
files.py    rows: open, make ready, get, page, delete, how much a tenant stores
parts.py    bytes: add a part, read, erase a range
persons.py  which lines of a tenant's files are about one person
sweep.py    what is removed when
room.py     all of it, opened and closed together
"""
