"""The gateway, the planner and the aggregator: everything that needs no GPU."""
