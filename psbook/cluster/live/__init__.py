"""What is seen of a run while it goes on: what processes tell, a page on the dashboard, gauges."""
