"""A connection to the Ray of the environment; prints the error, if there is one.

    RAY_ADDRESS=… python -m tests.cluster.one_session

A token is read once in a process, so each needs another process.
"""

from pipeline.cluster.ray_session import ray_session
from pipeline.config.sections import ClusterConfig
from pipeline.core.errors import NPDError


def connect() -> None:
    """Connect and disconnect."""
    try:
        with ray_session(ClusterConfig(workers=1)):
            print("connected")
    except NPDError as error:
        print(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    connect()
