"""What loading costs on this machine: a store's pages, a loader's passes, a pipeline's transforms.

`pages` needs no torch and stands by itself, so that commands that look at files alone start fast.
"""
