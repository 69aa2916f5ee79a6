"""Published preference models that implement ``Reward``; see docs/judges.md."""
