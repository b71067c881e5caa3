"""What is asked a thousand times a second, answered at once: how far a job is, and a picture that was asked for before.

    protocol   a connection of a client: has a whole request answered by `front`, or begins it the ordinary way
    front      what may be answered, and with what
    visit      who asks, whether they may, whether they have some left; what is written down at the end
    statuses   what was said of jobs, as long as nothing was written since
    hits       the answers that were given from stored pictures, by a keyed digest of the request
    template   such an answer's body, but for what every request has of its own

Through the server's task for a request, routing, middleware and the story such a request takes five times as long as
it need, because each part of that way is made for requests that take seconds (`python -m benchmarks.gateway --row
cost`). Here it takes none of it: the answer is made and written while the bytes of the request are being read, and
nothing is waited for. One rule keeps the two ways one behaviour: **only what is beyond doubt is answered here**. A key
that has to be looked up, a limit that has to be asked for, a request whose trace is recorded, a header that changes
anything, an error of whatever kind: nothing was done yet, and the ordinary way does all of it.
`tests/unit/gateway/hot` sends the same requests both ways and compares what comes back.
"""
