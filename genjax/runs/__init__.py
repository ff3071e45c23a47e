"""What turns an experiment into a command and a run directory."""
