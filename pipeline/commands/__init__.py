"""The commands of ``npd``, beside those of ``cli``; what each shows, and how its arguments read."""
