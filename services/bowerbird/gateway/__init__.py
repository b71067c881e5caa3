"""The front of Bowerbird: OpenAI's API on one side, the stages on the other, no model and no pixels in between."""
