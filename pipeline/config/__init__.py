"""What a person configures: one section a file, all of them in ``sections``, read by ``file``."""
