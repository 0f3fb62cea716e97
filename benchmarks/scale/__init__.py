"""What the number of samples costs. See `python -m benchmarks.scale --help`."""
