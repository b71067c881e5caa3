"""`python -m benchmarks.gateway`: row C4, what the gateway costs, and what it keeps while it is full.

One command, one table. The gateway is the real one, in a process of its own, with keys, quotas, metrics, log lines and
tracing on; its stages are light ASGI servers that speak the contracts (`light_stages.py`), so that two cores are enough
and only the gateway's own work counts. Where the engine's word is needed (`cancel.py`) it is the real stack.

    __main__.py      the command
    scale.py         what a run is given
    processes.py     gateway and stages as processes; their CPU seconds and memory
    light_stages.py  the stages: known slots, known service time, answers made beforehand
    asked.py         what is asked, ready to be sent
    client.py        HTTP/1.1 at a few microseconds a request: closed loop, open loop, idle streams

    cost.py          CPU a request: status, hit, picture, durable submit
    peers.py         the same plain route under BentoML and LitServe (contenders/)
    latency.py       p50 and p99 by route, and of a mix at 1 000 requests a second
    residence.py     memory of idle streams, and over a million requests
    fairness.py      one tenant floods: the others' p99, goodput, and how well the ETA was told
    cancel.py        steps that are computed after a hang-up and after a DELETE
"""
