"""Webhooks: tenants' endpoints are told that a job or a batch has ended, at least once, and by whom they can be sure.

Read in this order:

    events.py      what is told, in OpenAI's shapes
    tables.py      endpoints, what each wants to hear, what is still to be told to whom, every attempt
    outbox.py      what is to be told is written in the transaction of the fact
    signing.py     secrets, and Standard Webhooks' signature with them
    sealing.py     secrets as they lie in the database: of no use to who reads only that
    endpoints.py   endpoints as their tenant manages them
    deliveries.py  whose turn it is, who carries it, how an attempt ended, when it is tried again, when it is given up
    retrying.py    when a failed attempt is made again
    log.py         every delivery and attempt, as the endpoint's tenant sees them
    addresses.py   which addresses a stranger's URL may lead us to
    receivers.py   which URLs are refused before anybody connects to them
    sending.py     one request to a receiver, bounded in everything
    carrying.py    this replica's hands
    opening.py     all of it for a gateway process

A receiver is not trusted, nor is the tenant who named it: what it answers is not kept, where it leads is looked at when
a connection is made, how long it takes costs nobody else anything.
"""
