"""The command line: `lmdb-reid COMMAND`, one module per command."""
