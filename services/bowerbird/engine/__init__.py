"""The engine: draws from a compiled bundle, without torch and without diffusers.

`text_to_image` draws with it and `curation` judges with it. Read it in this order:

    bundle.py        a content-addressed folder: opened only when every digest is right
    backend.py       what runs a graph; `cpu.py` is ONNX Runtime on the CPU
    tokenizer.py     a prompt as token ids; too long is refused, never cut
    text_encoder.py  token ids as hidden states, cached
    noise.py         the only source of chance: keyed by seed and call
    sampler.py       a scheduler as a table of numbers
    denoiser.py      one step for a batch of groups, each at its own step
    decoder.py       latents as pixels
    drawing.py       the story: prompt -> hidden states -> steps -> frames
    lane.py          the thread that draws, with an asyncio queue in front
    opening.py       from a folder to a warm engine
"""
