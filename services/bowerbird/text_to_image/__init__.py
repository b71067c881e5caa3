"""The text-to-image service: frames from prompts. `service.py` is its entry; `bowerbird.engine` does the drawing."""
