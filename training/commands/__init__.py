"""The commands `lmdb-reid train` and `lmdb-reid demo`; each is loaded when it is called."""
