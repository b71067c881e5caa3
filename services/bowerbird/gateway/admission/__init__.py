"""Admission: who is next, where, and how long the others wait.

A request that may be drawn needs a slot of a text-to-image endpoint. There are fewer slots than requests, so somebody
has to decide; this package does, and it is meant to be read in this order:

    ticket.py       what waits: a ticket says whose it is, what it costs and until when it may wait
    fair_share.py   whose turn is it: deficit round robin by cost, after Shreedhar and Varghese (1995)
    lines.py        the queue: a line for each tenant in each class, and before them who was put back
    bounds.py       how much may wait: requests, compute units and bytes, for each tenant and in all
    endpoints.py    where there is room: slots, the least loaded first; who is full, who is dead, who is on trial
    estimate.py     how long it takes: the measured rate of service, and the wait that follows from it
    order.py        the order itself: all of the above in one place, synchronous, told the time; grants slots
    admission.py    the same for asyncio: `async with admission.place(ticket) as turn: grant = await turn.grant()`

All but the last know neither clock nor network: time comes in as a number, and what they promise is a property test
(`tests/unit/gateway/admission/`). The order is the one truth about who waits and who holds a slot; whatever carries
tickets to it and grants from it is a transport, be it asyncio's futures in this process or messages between replicas.
"""
