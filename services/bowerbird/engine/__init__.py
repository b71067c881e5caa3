"""The engine: draws from a compiled bundle, without torch and without diffusers.

`text_to_image` draws with it and `curation` judges with it. Read it in this order; a quarter of an hour is enough.

The story, from a folder to a frame:

    opening.py       from a folder to a warm engine
    order.py         what is asked, and the events that come back
    drawing.py       a bundle, loaded, and the four things it computes: encode, step, preview, decode
    core.py          one turn after the other: what the scheduler chose, computed and settled; faults
    executor.py      the thread that turns the core for a service; `job.py` is its other end, in the event loop
    progress.py      what is kept of an order on its way: groups, seconds, spans

Who is next:

    work.py          what is scheduled: requests, their tasks, and batches of them
    scheduler.py     the policy: class, flow, shortest first; which steps share a call
    fair_queue.py    a fair share for every flow
    costs.py         what a piece costs, measured; `warm_up.py` measures first

What is computed:

    bundle.py        a content-addressed folder: opened only when every digest is right
    tokenizer.py     a prompt as token ids; too long is refused, never cut
    text_encoder.py  token ids as hidden states, cached
    conditioning.py  all that a prompt tells the denoiser
    noise.py         the only source of chance: keyed by seed and call
    sampler.py       a scheduler of diffusers as a table of numbers
    denoiser.py      one step for a batch of groups, each at its own step
    lora/            LoRAs in slots on the device, each row with its own
    preview.py       what a picture will be, for little
    decoder.py       latents as pixels

What it runs on, of which the above knows only `backend.py`:

    backend.py       the interface, and where a backend is chosen
    runtime_errors.py, onnx_runtime.py     what the ONNX Runtime backends share
    cpu.py           rows side by side on threads; `prepared.py` and `prepacked.py` keep what was prepared
    openvino.py      OpenVINO on the CPU
    cuda.py          an NVIDIA GPU; `buckets.py`, `binding.py`: few shapes, fixed buffers, CUDA graphs
    tensorrt.py      engines built ahead (`tensorrt_profiles.py`); `nvidia.py`: what the GPU is
    memory.py        refuses what does not fit
"""
