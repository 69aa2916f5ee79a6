"""Page of a data set, sealed or still being built: funnel, gains, progress, costs and pairs."""
