"""`bowerbird pregenerate species.csv`: pictures of species, drawn before anybody asks for them.

    rows.py      the table as requests, line by line
    asking.py    what is asked for a row, and what the answer means
    pace.py      when the next may be asked: one rest for all, whoever was told to wait
    filling.py   the run: so many rows at a time, again after what passes, an end to what does not
    problems.py  rows that did not become what was asked for, in a file
    progress.py  how far it is, for people and for logs
    command.py   the command

It keeps no journal. Each row is asked for in class `batch` and answered without its picture (`Prefer:
return=minimal`): what the gateway has stored it finds in milliseconds and does not draw again. So a run that was
killed is resumed by starting it again, here or elsewhere, and a picture is drawn again exactly when it is not there any
more as it would be drawn now, with this model, LoRA, template and policy: the gateway knows that, a file beside the
table would not.
"""
