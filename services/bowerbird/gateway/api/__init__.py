"""The public API: one file for each resource, with its closed shapes and its handlers."""
