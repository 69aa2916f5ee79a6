"""Prometheus rules and the Grafana dashboard of a build, made from code."""
