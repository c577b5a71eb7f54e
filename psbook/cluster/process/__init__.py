"""A run's part in one worker process: its servers and programs, and what it takes of the machine."""
