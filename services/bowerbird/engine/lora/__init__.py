"""LoRAs: small files that change what a model draws, each row of a batch with its own.

A request names files of a mounted folder; the scheduler asks the shelf for them, pins them in banks on the device, and
hands the banks to the graphs that take LoRAs (`<role>_lora`, made by `compiler/lora_graph.py`). Read in this order:

    names.py   how trainers spell a module's name, and which module of this bundle it is
    files.py   one file: bounded, digested, parsed, checked; alpha folded in
    shelf.py   the folder: what lies in it now, looked at whenever a LoRA is named
    slots.py   which LoRA sits where: pinned while a row uses it, else the least recently used makes room
    banks.py   the arrays on the device, and the inputs of a batch
"""
