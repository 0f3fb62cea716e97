"""The rows of docs/guide.md's table, one module for each promise; see benchmarks.guide."""
