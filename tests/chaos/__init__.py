"""What holds while everything breaks: real stacks under load, whose parts are killed, paused, cut off and filled up.

After Jepsen (https://jepsen.io): a plan made of a seed, clients that write down what they sent and what they were told,
faults meanwhile, and books that are checked when all is over. Read in this order:

    plan.py      which requests and which faults, and which of them meet: a pure function of the seed
    prompts.py   what is asked; each prompt has a word of its own, so that it can be looked for afterwards
    stack.py     the processes: gateways, stages, database, picture store, and the proxies between them
    up.py        `bowerbird up` with the addresses that the run chose
    proxy.py     between a gateway and a stage: slow, cut off, altered, nonsense, silent
    faults.py    how each fault is done, and undone
    ledger.py    what was sent and what was told, as it happened
    caller.py    one exchange with a gateway, written into the ledger
    traffic.py   what a client of each kind does, until it is told or has reason to stop
    picture.py   what a picture itself says: its label and its pixels
    settling.py  after the last fault: everything may finish, and what is claimed now is asked for
    remains.py   what is left when the processes have ended: rows, files, texts
    evidence.py  all that is known then
    books.py     the claims about what was told: nothing lost, nothing twice, nobody else's
    accounts.py  the claims about usage
    leftovers.py the claim about what remains
    run.py       a run from beginning to end
    report.py    what a run says of itself

An exchange has one of four outcomes. It was *told* (an answer came), or it *never arrived* (the connection was
refused), and then the books know what happened. It was *told that it failed*, which is as good. Or it broke off, and
nobody can know whether it happened: such an outcome is *indeterminate*, and the books must accept both, and only both.
Everything that follows from an indeterminate outcome is counted and bounded, never assumed away.

The plan is replayed exactly by its seed: the same requests, the same faults, each before the same request. What is not
replayed is time: which instruction a SIGKILL meets is the machine's to say. A run that fails says its seed; to run it
again makes the failure likely, not certain.
"""
