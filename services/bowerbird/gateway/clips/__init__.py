"""Clips in the gateway: jobs like those of pictures, drawn by animation instead of text-to-image.

request.py     what a caller asks for, however it was said, and what a job keeps of it
plan.py        what exactly will be drawn, and what it costs
beginning.py   the picture that it begins with: opened and looked at
endpoints.py   the animators: which model moves pictures, and the queue for their slots
waiting.py     how a clip waits for a slot
progress.py    how far a clip is, in per cent
story.py       animate, judge, check, choose, publish
"""
