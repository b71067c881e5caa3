"""Bowerbird: Kubernetes-native serving for generative images."""

__version__ = "0.1.0"
