"""What the fleet tells while it runs: events, samples, sessions; kept for charts, never waited for."""
