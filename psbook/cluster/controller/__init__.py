"""The controller of a run, in the scheduler's process: who is there, lost or stuck, and which jobs run."""
