"""Feedback: what people thought of pictures, bound to the request and the variant that drew them, with its reward.

rewards.toml   what each kind of feedback is worth; one file, a version, a digest in every row
rewards.py     reads it
tables.py      what a row is
feedback.py    rows, written once each: the last word of somebody about a picture counts
text.py        free text as it may be kept
opening.py     all of it for a gateway process
"""
