"""Every parser of foreign bytes, asked with whatever may come: it answers or refuses, in bounded memory.

parsers     the table: name, inputs to begin with, what reads them; a refusal is one of `bowerbird.errors`
requests    bytes as the request that they would be
one         one parser under libFuzzer (atheris), which changes inputs so that they reach new code
__main__    `make fuzz`: all of them, a million inputs each, taken up again where it was stopped
test_parsers.py asks the same table with some inputs of hypothesis in CI
"""
