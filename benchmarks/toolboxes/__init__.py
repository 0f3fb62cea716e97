"""Toolboxes in environments of their own, as `benchmarks.bridges` times them."""
