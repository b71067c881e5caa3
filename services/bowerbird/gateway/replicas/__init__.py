"""Several gateway replicas, one order.

A gateway holds requests, and several of them are needed so that one may die. But two queues before the same stages are
no order: a tenant that floods one replica would starve nobody there and everybody here, and each would give away the
same slots. So one replica owns the order (`gateway/admission`), and the others ask it. To be read in this order:

    election.py     who owns it: a lease in the database, with an epoch that grows with every change of hands
    messages.py     what replicas say to each other, a line each
    stream.py       lines both ways over one HTTP request, with a beat when there is nothing to say
    link.py         a follower's end: a `Keeper` that writes down what it is asked
    followers.py    the owner's end: a seat before the order for each follower
    doorway.py      the route by which followers come, closed to all others

What waits for text-to-image and what waits for animation are two queues, each with an election and an owner of its own;
often they are the same replica's.

What crosses is small: who waits, what it costs, where there is a slot. Prompts and pictures do not; those go from each
replica to the stages. SQLite, one process: none of this runs (`opening.py`).

Three clocks bound how long nobody grants after an owner's death: its lease must run out (LEASE_SECONDS), another must
look (LOOK_SECONDS), and all others must have found that one and told it what they hold (GATHER_SECONDS). Together that
is less than 10 s. When the database cannot be asked for longer than a lease, nobody grants until it can: then nobody
could know who owns the order. Who waits, waits; what is being drawn is finished.

What a former owner still believes is harmless. It looks at its lease before each single grant, by a clock that goes on
while a process is stopped or a machine asleep; and a stage refuses its grants once it has seen one of a later epoch.
"""
