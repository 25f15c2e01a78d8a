"""Training of a row: the loop, its processes, schedule and optimizer, and the state that a run goes on from."""
