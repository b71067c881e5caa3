"""Serving: what the services that draw, text-to-image and animation, say and do alike.

answering.py     a request becomes an order, its claim a place on the model, the drawing a stream
claim.py         until when, in which class, for which flow, by which weight: what the headers state
fence.py         a slot that a former owner of the gateways' queue granted is refused
stream.py        a drawing as a stream of parts
description.py   what the engine that serves can draw, and what it costs

Services never import each other; this room imports none of them.
"""
