"""The animation service: the frames of clips, from a prompt, a picture or both.

`service.py` is its entry; `bowerbird.engine` does the drawing, as for stills.
"""
