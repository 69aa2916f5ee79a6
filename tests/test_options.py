"""The reference of every setting."""

from pipeline.config import Config
from pipeline.options import describe_options


def test_options_headers_are_those_that_a_file_would_have() -> None:
    headers = [line.split("  #")[0] for line in describe_options() if line.startswith("[")]
    expected = [f"[[{n}]]" if n == "rewards" else f"[{n}]" for n in Config.model_fields]
    assert headers == expected


def test_options_tell_required_keys_from_those_with_a_default() -> None:
    lines = list(describe_options())
    network = lines[lines.index(next(line for line in lines if line.startswith("[npnet]"))) :]
    assert network[1] == "path = <required>"
    assert network[3] == "rounds = 1"
