"""What is wanted of each stage, who is told, and how a request waits for a stage that sleeps.

A model service may have no pod while nobody needs it. A request that comes then raises the demand of every stage of its
pipeline at once and is held; KEDA, which asks the gateways how many pods are wanted, makes the first ones; and whoever
waits is told how far they are. To be read in this order:

    level.py              what the requests of this process want of each stage
    rows.py, tables.py    the same as rows that expire, for all replicas
    sharing.py            written and read every second, and at once when somebody begins to wait
    schedules.py          what the settings want at certain hours
    wanted.py             all demand -> whether a variant is needed, and how many pods
    scaler.py             told to KEDA, by its external-push protocol (external_scaler.proto, generated: …_pb2.py)
    phase.py              how far a stage is on its way up, and what keeps it, from what Kubernetes says
    climb.py              looks at that while a stage is needed; makes the first pod where KEDA does not
    waking.py             holds requests until stages are awake, within bounds, and tells them
    deletion_cost.py      which pods are busy, so that a scale-down takes the others
    descriptions.py       what a sleeping model drew with
    opening.py            all of it

gRPC is grpclib's: pure Python on our own event loop, 1 MB; grpcio is 18 MB and brings a thread and a loop of its own.
"""
