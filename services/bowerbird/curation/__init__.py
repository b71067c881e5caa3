"""Curation: judges candidates, chooses the best, and publishes pictures that say where they come from.

Read in the order of a request: `service` (the routes), `judging` (one frame after the other, then the choice),
`measures`, `banding`, `prompt_match` and `duplicates` (what is measured), `ranking` (how it is weighed); then
`publishing`, `encoding`, `credentials` and `manifest` (a labelled file), `certificates` (who signs), `provenance`
(reading a label back).
"""
