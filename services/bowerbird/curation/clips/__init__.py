"""Clips in curation: judged, encoded, labelled and signed.

`service` calls them; whoever compares models measures by them.

measures.py   flicker, motion, subject, seam: what pictures do not have
judging.py    scores of one clip, and the best of several
encoding.py   frames to a file of a format
gif.py        one palette for all frames
webp.py       animated WebP
mp4.py        AV1 in MP4
boxes.py      the boxes that an MP4 consists of
timing.py     how long each frame is shown
publishing.py a clip, ready to leave
"""
