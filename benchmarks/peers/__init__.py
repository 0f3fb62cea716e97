"""One module for each engine that is compared; each runs as a process. See benchmarks.loaders."""
