"""Measurements: each beside a twin on the same data in the same run. See docs/benchmarks.md."""
