"""`make bench-animation`: rows A1-A5, what a clip takes, weighs and costs its neighbours.

    __main__.py     the command
    whole_clip.py   A2: a window of frames by the engine and by diffusers' AnimateDiff, same weights, same noise
    served.py       A1, A4, A5: clips through `bowerbird up`: how long, how much memory, what a still beside one pays
    encoding.py     A3: 120 frames as GIF, WebP and MP4, and what looking at them costs

What a GPU would show is row G7 of `benchmarks.gpu`.
"""
