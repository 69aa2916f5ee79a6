"""Reference of all settings, generated from the configuration classes."""

from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from pipeline.config.sections import Config
from pipeline.config.toml_file import kind_of, sections_in


def describe_options() -> Iterator[str]:
    """Yield the lines of the reference: each section with its keys, defaults and descriptions."""
    for name, field in Config.model_fields.items():
        yield from _describe(name, field)


def config_schema() -> dict[str, Any]:
    """Return a JSON Schema of configuration files, for completion and checks in an editor."""
    schema = Config.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Noise Prompt Dataset configuration",
    }


def _describe(name: str, field: FieldInfo) -> Iterator[str]:
    """Yield the lines of a section of every kind: its keys, then its nested sections."""
    header = f"[[{name}]]" if get_origin(field.annotation) is tuple else f"[{name}]"
    sections = sections_in(field.annotation)
    for section in sections:
        yield ""
        yield f"{header}  # {_first_line(section.__doc__)}"
        options = section.model_fields
        within = [key for key, option in options.items() if sections_in(option.annotation)]
        for key, option in options.items():
            if key in within:
                continue
            # Sections of several kinds share a header, so the value of kind tells them apart.
            if len(sections) > 1 and key == "kind":
                yield f'kind = "{kind_of(section)}"'
            else:
                yield f"{key} = {_default(option)}"
            yield f"    {option.description}{_choices(option.annotation)}"
        for key in within:
            yield from _describe(f"{name}.{key}", options[key])


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0]


def _default(option: FieldInfo) -> str:
    if option.is_required():
        return "<required>"
    value = option.get_default(call_default_factory=True)
    if isinstance(value, tuple):
        value = list(value)
    return "<unset>" if value is None else repr(value).replace("'", '"').lower()


def _choices(annotation: Any) -> str:
    literals = [*_literals(annotation)]
    choices = [choice for choice in literals if isinstance(choice, str)]
    if choices and bool in literals:
        choices = ["false", "true", *choices]
    return f" One of: {', '.join(choices)}." if choices else ""


def _literals(annotation: Any) -> Iterator[object]:
    for argument in get_args(annotation):
        if get_args(argument):
            yield from _literals(argument)
        else:
            yield argument
