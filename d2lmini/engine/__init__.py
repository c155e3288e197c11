"""What keeps a training safe and fast, and what no chapter shows.

The helpers that a reader meets are one floor up, in d2lmini itself, and call what is
here; nothing here knows `d2lmini.training`.
"""
