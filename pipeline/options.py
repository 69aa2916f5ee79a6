"""Every setting of a configuration file with its meaning, read from the configuration itself."""

from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from pipeline.config import Config, Section


def describe_options() -> Iterator[str]:
    """The lines of a reference: a section, then its keys with type, default and meaning."""
    for name, field in Config.model_fields.items():
        section = _section(field.annotation)
        header = f"[[{name}]]" if get_origin(field.annotation) is tuple else f"[{name}]"
        yield ""
        yield f"{header}  # {_first_line(section.__doc__)}"
        for key, option in section.model_fields.items():
            yield f"{key} = {_default(option)}"
            yield f"    {option.description}{_choices(option.annotation)}"


def _section(annotation: Any) -> type[Section]:
    """A section's own type, or the one in an optional section or in a tuple of sections."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return _section(get_args(annotation)[0])


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0]


def _default(option: FieldInfo) -> str:
    if option.is_required():
        return "<required>"
    value = option.default
    if isinstance(value, tuple):
        value = list(value)
    return "<unset>" if value is None else repr(value).replace("'", '"').lower()


def _choices(annotation: Any) -> str:
    choices = [choice for choice in _literals(annotation) if isinstance(choice, str)]
    return f" One of: {', '.join(choices)}." if choices else ""


def _literals(annotation: Any) -> Iterator[object]:
    for argument in get_args(annotation):
        if get_args(argument):
            yield from _literals(argument)
        else:
            yield argument
