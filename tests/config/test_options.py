"""The reference of every setting."""

from pipeline.config.options import describe_options
from pipeline.config.sections import Config

ARRAYS = ("proposers", "rewards")


def test_options_headers_are_those_that_a_file_would_have() -> None:
    headers = [line.split("  #")[0] for line in describe_options() if line.startswith("[")]
    expected = [f"[[{n}]]" if n in ARRAYS else f"[{n}]" for n in Config.model_fields]
    within = {
        "[prompts]": ["[[prompts.sources]]", "[prompts.safety]"],
        "[model]": ["[[model.loras]]", "[model.scheduler]", "[model.vae]"],
    }
    expected = [header for name in expected for header in (name, *within.get(name, []))]
    assert list(dict.fromkeys(headers)) == expected


def test_options_of_an_array_of_several_kinds_show_each_with_its_own_keys() -> None:
    lines = list(describe_options())
    starts = [i for i, line in enumerate(lines) if line.startswith("[[proposers]]")]
    kinds = [next(line for line in lines[i:] if line.startswith("kind = ")) for i in starts]
    assert kinds == [
        f'kind = "{kind}"'
        for kind in ("redenoise", "trajectory", "zigzag", "best_of_n", "npnet", "custom")
    ]
    best = lines[starts[3] : starts[4]]
    assert [line.split(" = ")[0] for line in best if " = " in line] == ["kind", "name", "n"]


def test_options_tell_required_keys_from_those_with_a_default() -> None:
    lines = list(describe_options())
    network = lines[lines.index(next(line for line in lines if line.startswith("[npnet]"))) :]
    assert network[1] == "path = <required>"
    assert network[3] == "rounds = 1"
