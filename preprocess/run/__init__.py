"""A build: its plan, its tasks, where they run, and what survives a kill."""
