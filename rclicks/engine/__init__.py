"""The engine: it turns a benchmark into a plan, simulates all trajectories of the plan, and writes records."""
