"""Vocabulary of all other folders: errors, records, digests, versions of software and formats."""
