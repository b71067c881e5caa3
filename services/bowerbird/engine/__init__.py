"""The engine: draws from a compiled bundle, without torch and without diffusers.

`text_to_image` and `animation` draw with it, `curation` judges with it. Read it in this order; a quarter of an hour is
enough.

The story, from a folder to a frame:

    bundle.py     a content-addressed folder: opened only when every digest is right
    fetching.py   one from an object store, whole or not at all; a process of its own, before a service starts
    opening.py    from a folder to a warm engine; `memory.py` refuses what does not fit
    order.py      what is asked, and the events that come back; `ordering.py` checks it
    drawing.py    a bundle, loaded, and the four things it computes: encode, step, preview, decode
    core.py       one turn after the other: what the scheduler chose, computed and settled; faults
    executor.py   the thread that turns the core for a service; `job.py` is its other end, in the event loop
    progress.py   what is kept of an order on its way: groups, seconds, spans
    backend.py    what runs a graph: the interface, and where a backend is chosen

and below it five rooms, each with its own reading order:

    scheduling/   who is next, and who shares a step
    model/        what is computed: tokens, conditioning, noise, sampler, denoiser, previews, decoder
    lora/         LoRA files, the folder they lie in, their slots and banks on the device
    backends/     what it runs on: ONNX Runtime on CPU and GPU, OpenVINO, TensorRT
    serving/      what the services that draw with it say and do alike
"""
