"""What is computed for a picture, in this order. `drawing` holds one of each; none knows of requests or of a schedule.

tokenizer.py           a prompt as token ids; too long is refused, never cut
text_encoder.py        token ids as hidden states, cached
conditioning.py        all that a prompt tells the denoiser
image_conditioning.py  all that a picture tells it, of clips that have no prompt
noise.py               the only source of chance: keyed by seed and call
sampler.py             a scheduler of diffusers as a table of numbers
denoiser.py            one step for a batch of groups, each at its own step
clip.py                a group whose frames are drawn together, window by window
preview.py             what a picture will be, for little
decoder.py             latents as pixels
encoder.py             pixels as latents, for a picture that begins with another
"""
