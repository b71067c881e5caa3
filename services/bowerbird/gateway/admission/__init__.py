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
    keeper.py       who keeps the order and who asks it, each as the other sees it: between them may be a network
    owner.py        an order with a clock, and a seat before it for each replica that asks
    interregnum.py  nobody keeps the order, for as long as it takes to find somebody
    admission.py    the front, for asyncio: `async with admission.place(ticket) as turn: grant = await turn.grant()`

Up to the order, nothing knows clock or network: time comes in as a number, and what is promised is a property test
(`tests/unit/gateway/admission/`). The order is the one truth about who waits and who holds a slot. In one process the
front asks an owner beside it; how several replicas ask one of them is told in `gateway/replicas/`.
"""
