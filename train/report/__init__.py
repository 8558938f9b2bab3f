"""What people see of a run: console, metrics, curves."""
