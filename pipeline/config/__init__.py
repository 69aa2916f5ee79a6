"""The configuration of a build: ``sections`` gathers all sections, ``file`` reads them."""
