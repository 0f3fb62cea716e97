"""Other toolboxes train on a store: whole batches in the form that each of them takes.

A store that is read one sample at a time by a toolbox's own workers gains nothing: Pillow,
ToTensor, Normalize and floats sent between processes are what takes the time. So a bridge hands
over batches that are made here, with the recipe in them; `python -m benchmarks.bridges` measures
what that gains.

Neither toolbox is needed to import these modules, nor Lightning.
"""
