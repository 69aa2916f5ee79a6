"""Published preference models behind the ``Reward`` protocol, one a file; see docs/judges.md."""
