"""`python -m benchmarks.engine`: rows C1-C9, the engine against what people use instead.

One command, one table. Every contender, ours too, is a process of its own in an environment of its own; contenders of a
row take turns (A, B, C, A, B, C, …), so that a machine that slows down slows all of them. Figures are medians.

    __main__.py     the command
    scale.py        what a run is given: sizes, repetitions, the bundle
    record.py       benchmarks/results/engine.json, row by row
    environments.py peers, installed by uv from contenders/<name>.txt
    contender.py    a process that answers questions: start, ask, stop
    models.py       the checkpoints and bundles that are compared
    server.py       a service on a free port
    slices.py       a long row in slices that are kept, so that it may stop and go on
    trace.py        a seeded trace of requests
    load.py         plays a trace, open loop
    goodput.py      what became of it
    contest.py      who plays C6, on what, with which settings
    contenders/     what runs in those processes

    denoiser_step.py    C1, C2
    whole_picture.py    C3
    service_overhead.py C5
    mixed_load.py       C6
    worker_memory.py    C7
    company.py          C8
    cold_start.py       C9
"""
