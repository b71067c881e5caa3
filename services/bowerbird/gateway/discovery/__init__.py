"""Which pods a stage has now, as Kubernetes knows them: endpoints come, drain and go.

    api_server.py       asks the API server: get, patch, watch; the token and the CA are read again when they change
    reflecting.py       a list of objects that is kept true by a watch, through disconnects and lost history
    endpoint_slices.py  EndpointSlices of one Service -> its endpoints: ready, starting, terminating
    discovery.py        the two together, for every stage; tells `stages`
    opening.py          all of it, where `kubernetes_namespace` is set

New work goes to endpoints that are ready. What a terminating one computes goes on to its end on the connection that it
has. When the API server cannot be asked, everything goes on with what is known: endpoints that die meanwhile are seen
by the looks at them (`stages`).

No client library: it would be three GETs and a PATCH, and the library's own model of every kind there is takes 60 MB.
aiohttp is here already, and a watch is lines of JSON in one answer
(https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes).
"""
