"""What the suite has exactly once: the origin, the route table, the schedule, the aggregated health."""
