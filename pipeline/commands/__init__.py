"""Commands of ``npd`` that ``cli`` does not define, their arguments and their console output."""
