"""The compiler: a diffusers folder becomes a bundle that is served without torch or diffusers.

`bowerbird compile CHECKPOINT --to DIR` (commands.py) calls compiling.py, which reads as the list of what happens;
judging.py does the same for a judge of pictures:

    checkpoint.py      the folder: components, classes, digests
    tokenizing.py      its tokenizer as one file
    sampler_tables.py  its scheduler as tables of numbers
    parts.py           which class becomes which graphs, with which inputs and outputs
    export.py          one graph by `torch.onnx.export`, and the cache that makes a second run short
    weights.py         graphs give up their weights to one fp16 file that they reference by offset
    graphs.py          all graphs of a bundle, with the answers they must give
    parity.py          the gate: each part and whole pictures against diffusers
    writing.py         the folder, written whole or not at all
    restore.py         the way back: a diffusers folder from a bundle

Only this package and `training` may import torch.
"""
