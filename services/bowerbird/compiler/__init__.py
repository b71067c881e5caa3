"""The compiler: a diffusers folder becomes a bundle that is served without torch or diffusers.

`bowerbird compile CHECKPOINT --to DIR` (commands.py, options.py) calls compiling.py, which reads as the list of what
happens; judging.py does the same for a judge of pictures:

    checkpoint.py      the folder: components, classes, where their weights are
    animate_diff.py    a UNet and its motion modules brought together
    stable_video.py    a UNet over frames that is told a picture
    families.py        which family it is of, and what that means
    measuring.py       its latents, its sizes, the shapes of example inputs
    tokenizing.py      its tokenizers, one file each
    sampler_tables.py  its scheduler as tables of numbers, probed by running it (scheduling.py)
    resizing.py        how its image encoder's pictures become small, as matrices, probed likewise
    parts.py           which component becomes which graphs, with which ports; modules.py brings classes to them,
                       lora_graph.py makes a second graph that takes LoRAs
    loading.py         components as torch modules: hollow ones to export, whole ones to compare with
    export.py          one graph by `torch.onnx.export`, and the cache that makes a second run short
    weights.py         graphs give up their weights to one file (tensor_file.py), kept as precision.py says
    halving.py         the graphs that run long once more, computed in fp16 for a GPU
    graphs.py          all graphs of a bundle, with the answers they must give
    previews.py        the linear map from latents to small pictures
    parity.py          the gate: each part against diffusers; pictures.py, video_pictures.py: whole pictures, clips
    writing.py         the folder, written whole or not at all
    preparing.py       what a runtime of this machine wants done ahead; also `bowerbird prepare`, without torch
    describing.py      what a person wants to know of a bundle
    restore.py         the way back: a diffusers folder from a bundle

One component is in memory at a time, and its weights once. *Measured* in fp16, at most resident: Stable Diffusion 1.5
at 512 x 512, 0.86 billion parameters in its UNet, 7.8 GB; Stable Diffusion XL with 2.6 billion at 1024 x 1024, with
graphs for LoRAs, 13.1 GiB, of which the system could take back 5. That takes 2.1 GiB while it exports; its UNet is
weighed at 12.1 and compared at 13.1. 29 minutes of exporting and 42 of the rest, on a part of two busy cores.

Only this package and `training` may import torch.
"""
