"""The compiled engine: the runs of a `psbook.Loop` as a recursion for times and a scan for numbers."""
