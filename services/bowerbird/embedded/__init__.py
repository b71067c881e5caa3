"""Bowerbird on one machine: what `bowerbird up` starts, watches and stops, and what `bowerbird doctor` looks at.

Nothing here serves a request. The processes are the ones a cluster runs (the gateway, and `bentoml serve` for each
stage); this package is to them what the chart is in a cluster, so no service imports it.
"""
