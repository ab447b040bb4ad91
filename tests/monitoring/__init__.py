"""What operators see: metrics, rules, alerts, the dashboard."""
