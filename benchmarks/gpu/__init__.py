"""`python -m benchmarks.gpu`: what the technique of the engine is worth on an NVIDIA GPU, rows G1-G7.

Needs one GPU, torch and NumPy; no network, no weights: the shapes of SDXL and SDXL-Turbo are built here in plain torch
with seeded random weights (a step costs the same whatever the weights mean). Only G7 needs diffusers. `--tiny --device
cpu` runs every line on a machine without a GPU, to show that it works; such figures mean nothing and are not kept. Read
in this order:

    shapes.py         the numbers of SDXL, and of a miniature
    unet.py           the denoiser
    text_encoders.py  its two text encoders
    decoders.py       AutoencoderTiny's decoder and AutoencoderKL's
    lora.py           LoRA banks on the device, in the layout of the engine's bundles
    replay.py         one CUDA graph for each shape
    painter.py        token ids -> pixels, by one backend
    meter.py          times, memory, utilisation
    rows.py           G1-G7
    clips.py          G7: AnimateDiff's denoiser, by diffusers' class
    onnx_cuda.py      the same UNet through ONNX Runtime's CUDA provider, where that is installed
"""
