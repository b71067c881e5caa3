"""Tests, by what they need: `unit/` parts, `integration/` the running stack, `chaos/` stacks that are being broken.

A package, so that `python -m tests.chaos` means this folder and not one that somebody's wheel has left on the path.
"""
