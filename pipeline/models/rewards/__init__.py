"""Published preference models that implement ``Reward``, one in each file; see docs/judges.md."""
