"""Parsing of command lines and YAML files, for Lightning's commands and ours alike.

What jsonargparse tells on many lines, with its internals in between, is reduced to one line with the key.
Values may use OmegaConf: `${data.init_args.task}` is another key's value, after the command line has been
read, and `${precision:}` is the fastest precision of this machine.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ArgumentParser, set_parsing_settings
from jsonargparse._loaders_dumpers import set_omegaconf_loader
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lit_distill.errors import LitDistillError

PARSER_MODE = "omegaconf+"
"""Interpolations are resolved after the command line, so `--data.task X` reaches whoever refers to it."""

CONFIG_OPTIONS = ("-c", "--config")
SUBCOMMAND = re.compile(r"^(fit|validate|test)\.")


def _precision() -> str:
    from lit_distill.precision import best_precision

    return best_precision()


OmegaConf.register_resolver("precision", _precision, replace=True)
# jsonargparse 4.53 does this only when it reads a first value, and fails with a KeyError if it meets a
# parameter whose default is a dict before that.
set_omegaconf_loader(PARSER_MODE)
# A file's `${data.init_args.task}` counts from that file's top, although its keys end up under `fit.`.
set_parsing_settings(omegaconf_absolute_to_relative_paths=True)


class OneLineErrorMixin:
    """For a jsonargparse parser: what the user got wrong becomes a LitDistillError of one line."""

    exit_on_error: bool
    prog: str
    _actions: list[Any]

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise instead of printing the usage; parsers inside parsers keep their own exception."""
        if not self.exit_on_error:
            super().error(message, ex)  # type: ignore[misc]
        parser = getattr(ex, "subcommand_parser", None) or self
        keys, problem = reduce_message(message)
        if problem == NO_SUCH_KEY:
            problem += nearest(".".join(keys), (action.dest for action in parser._actions))
        text = f"{'.'.join(keys)}: {problem}" if keys else problem
        raise LitDistillError(f"{text} (see {parser.prog.replace(' [options]', '')} --help)") from None


class OneLineErrorParser(OneLineErrorMixin, ArgumentParser):
    """jsonargparse's parser with one-line errors."""


def parse(parser: ArgumentParser, arguments: Sequence[str]) -> Any:
    """Parse a command line (`--config` files included) and return jsonargparse's namespace.

    Raises:
        LitDistillError: a file, key, value or interpolation that is wrong, in one line.
    """
    for path in config_files(arguments):
        check_config_file(path)
    try:
        return parser.parse_args(list(arguments))
    except OmegaConfBaseException as error:
        where = SUBCOMMAND.sub("", error.full_key or "")
        problem = re.sub(r" \(resolved to .*|(?<=')\.+", "", str(error).splitlines()[0])
        raise LitDistillError(f"{where}: {problem}") from None


def config_files(arguments: Sequence[str]) -> list[str]:
    """Return the files that a command line names with --config or -c, in order."""
    files = [value for option, value in pairwise(arguments) if option in CONFIG_OPTIONS]
    return files + [argument.split("=", 1)[1] for argument in arguments if argument.startswith("--config=")]


def check_config_file(path: str) -> None:
    """Raise LitDistillError naming the file unless it is a YAML mapping."""
    try:
        content = yaml.safe_load(Path(path).read_text())
    except FileNotFoundError:
        folder = Path(path).parent
        hint = nearest(Path(path).name, (other.name for other in folder.glob("*.yaml")))
        raise LitDistillError(f"--config {path}: no such file{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise LitDistillError(f"--config {path}: cannot be read: {error}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise LitDistillError(f"--config {path}:{where}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise LitDistillError(f"--config {path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise LitDistillError(f"--config {path}: must hold `key: value` lines")


NO_SUCH_KEY = "no such key"
UNKNOWN_KEY = re.compile(
    r"Option '(.+)' is not accepted|Subcommand '.+' does not accept option '(.+)'"
    r"|[Uu]nrecognized arguments: --([\w.+]+)"
)


def reduce_message(message: str) -> tuple[list[str], str]:
    """Split what jsonargparse says into the key's parts and what is wrong with its value.

    jsonargparse nests: a key, the class given for it, a key of that class, ... and, where a value may be of
    several types, a complaint of each type, of which the first that says more than its name is the one meant.
    """
    text = inspect.cleandoc(message)
    if match := re.match(r'Parser key "(.+?)":\s*(.*)', text, re.DOTALL):
        keys, problem = reduce_message(match[2])
        return [match[1], *keys], problem
    if match := re.match(r"Problem with given class_path '(.+?)':\s*(.*)", text, re.DOTALL):
        keys, problem = reduce_message(match[2])
        if problem == NO_SUCH_KEY:
            return keys, f"{match[1]} has no such option{nearest(keys[-1], _parameters(match[1]))}"
        return keys, problem if keys else f"class_path {match[1]}: {problem}"
    if match := re.search(r"Errors:\n(\s*- .*?)\n\s*Given value type: .*?Given value: (.*)", text, re.DOTALL):
        complaints = re.split(r"^- ", inspect.cleandoc("\n" + match[1]), flags=re.MULTILINE)[1:]
        meant = [complaint for complaint in complaints if not complaint.startswith("Expected a ")]
        if meant:
            return reduce_message(meant[0])
        types = [_type_name(complaint.removeprefix("Expected a ")) for complaint in complaints]
        return [], f"expected {' or '.join(types)}, got {match[2]}"
    if match := re.match(r"Expected a (.+?)\. Got value: (.*)", text, re.DOTALL):
        return [], f"expected {_type_name(match[1])}, got {match[2]}"
    if match := UNKNOWN_KEY.match(text):
        return [next(filter(None, match.groups()))], NO_SUCH_KEY
    if match := re.match(r"the following arguments are required: (.+)", text):
        return [SUBCOMMAND.sub("", match[1])], "required, but neither a --config file nor an option gives it"
    return [], " ".join(text.split())


def _type_name(text: str) -> str:
    name = re.sub(r"<class '(?:.*\.)?(.+?)'>", r"\1", text.strip())
    return name.replace("typing.", "").replace("NoneType", "null")


def _parameters(class_path: str) -> Iterable[str]:
    module, _, name = class_path.rpartition(".")
    return inspect.signature(getattr(importlib.import_module(module), name)).parameters


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean X?` for the nearest of the known words, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def describe(function: Callable[..., Any]) -> str:
    """Return a docstring's text up to its first section (`Args:`, `Returns:`, ...)."""
    text = inspect.getdoc(function) or ""
    return re.split(r"\n\s*(?:Args|Returns|Raises|Yields):", text)[0].strip()
