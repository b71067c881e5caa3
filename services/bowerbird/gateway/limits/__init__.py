"""How much a tenant may take, over all gateways together.

Read in this order:

    table.py      what the replicas share: what of each window is handed out, and who holds which slots
    share.py      one limit of one tenant in one replica: a share of the window's quota, spent without asking (pure)
    slots.py      requests at a time, in one replica: slots held by lease (pure)
    ledger.py     handing out shares and slots, in the database's transactions
    account.py    all limits of one tenant in one replica
    limits.py     the asyncio front: enter, leave, charge; what goes on in the background, and without a database
    opening.py    all of it, opened when the app starts
    metrics.py    refusals, hand-outs, and whether this gateway is alone

A window is a second, minute, hour or day of the database's clock; each has its quota. A replica does not count in the
database: it has a share handed out, some part of what is left of the window, and spends it in memory. What is handed
out is never more than the quota, so the limit holds exactly, however many replicas there are and whichever dies; and a
request waits for the database only when its replica's share is used up, which mostly is topped up before. What a
replica was handed and did not spend lapses with the window. So that this is little, a share is at most an eighth of
what is left (guided self-scheduling, Polychronopoulos and Kuck, 1987), and at most what two seconds take at the pace of
the tenant's requests there.

A request with all five limits and the headers that tell them costs 9 us of CPU beside the 4 us of knowing its key.

The database and not Redis: it is there already, it is what jobs and keys depend on anyway, and a second store would be
a second thing to run, secure and lose. The library `limits` (MIT) has the windows, but asks Redis, Memcached or MongoDB
at each request, for each limit.

While the database is away a replica grants itself `limits_alone_part` of each quota in each window, and says so: a
gauge, a log line, the header `Bowerbird-Limits: alone`. So there is always a limit: at worst, in the window in which
the database goes or comes back, what was handed out before and that part for each replica.
"""
