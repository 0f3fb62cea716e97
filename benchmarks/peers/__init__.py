"""One module for each engine of the race, run as a process of its own; see benchmarks.loaders."""
