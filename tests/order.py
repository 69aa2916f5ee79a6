"""Order of the test files for runs with several processes: the longest come first.

One process runs a complete file. If a long file came last, all other processes would wait for it.
"""

import pytest

LONGEST_FIRST = (
    "tests/end_to_end/test_killed.py",
    "tests/end_to_end/test_two_drivers.py",
    "tests/faults/real/test_build_in_trouble.py",
    "tests/cluster/test_driver.py",
    "tests/jobs/test_submit.py",
    "tests/infra/test_prometheus.py",
    "tests/faults/simulated/test_every_fault.py",
    "tests/secrets/test_secrets_on_a_cluster.py",
    "tests/jobs/test_train_npnet.py",
    "tests/infra/test_wheel.py",
    "tests/evaluate/trial/test_run.py",
    "tests/evaluate/pages/test_browser.py",
    "tests/cluster/test_elastic.py",
    "tests/training/test_run.py",
    "tests/fuzz/test_fuzz.py",
    "tests/end_to_end/test_network_loop.py",
    "tests/reader/others/test_ray_data.py",
    "tests/demo/test_demo_model.py",
)
"""The longest files, sorted roughly by their time. All others follow in the usual order."""


SLOW_FOLDERS = (
    *("cluster", "end_to_end", "examples", "faults", "fuzz", "gpu", "infra", "jobs", "secrets"),
    *(
        "evaluate/pages",
        "evaluate/trial",
        "models/diffusers/families",
        "models/rewards",
        "training",
    ),
)
"""Folders of tests that start processes, Ray or servers, or compute with many models."""

SLOW_FIXTURES = {"ray_cluster", "s3_server", "s3_env", "s3_url"}
"""Fixtures that start Ray or a server."""


def is_fast(item: pytest.Item) -> bool:
    """Return True for a test that ``make test-fast`` runs."""
    file = item.nodeid.partition("::")[0]
    fixtures = set(getattr(item, "fixturenames", ()))
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    in_slow_folder = file.startswith(tuple(f"tests/{name}/" for name in SLOW_FOLDERS))
    # The fixture ``store`` asks for its server by parameter.
    starts_server = bool(fixtures & SLOW_FIXTURES) or parameters.get("store") == "s3"
    return not (in_slow_folder or starts_server or file in LONGEST_FIRST)


def rank(item: pytest.Item) -> int:
    """Return the sort key of a test, which keeps the tests of a file together."""
    file = item.nodeid.partition("::")[0]
    return LONGEST_FIRST.index(file) if file in LONGEST_FIRST else len(LONGEST_FIRST)
