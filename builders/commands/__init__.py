"""The commands that builders bring; each is imported when it is called."""
