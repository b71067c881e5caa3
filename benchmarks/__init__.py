"""What is measured, and how: each module is one command, `python -m benchmarks.<name>`."""
