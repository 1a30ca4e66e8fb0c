"""The command line: which command is which function.

Lightning's own commands (fit, validate, test) go to `lit_distill.lightning_cli`. Ours are typed
functions: a function's parameters are the command's options and the keys of its YAML file, and its docstring
is the `--help`. To add a command, write the function and one line in `VERBS`.

Nothing is imported before it is needed, so `--help` answers at once and `fit` needs neither MuJoCo nor GL.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lit_distill.errors import InfrastructureError, LitDistillError

PROGRAM = "python -m lit_distill"
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130


class Verb(NamedTuple):
    """One of our commands.

    Attributes:
        target: where its function is.
        summary: what the list of commands says of it.
        shows_result: whether what the function returns is shown (not if it says it itself).
        teacher: the key that `--teacher` stands for, as in every command that asks a teacher; `` for itself.
    """

    target: str
    summary: str
    shows_result: bool = True
    teacher: str = ""


VERBS: dict[str, Verb] = {
    "pipeline": Verb(
        "lit_distill.study.pipeline:run",
        "teacher, shards, training and evaluation in one go",
        teacher="collect.teacher",
    ),
    "collect": Verb(
        "lit_distill.collection:collect",
        "let teacher or student act in the simulator, write shards",
        shows_result=False,
        teacher="settings.teacher",
    ),
    "verify": Verb("lit_distill.shards:verify_folder", "check a folder of shards against its manifest"),
    "discard": Verb(
        "lit_distill.shards:discard", "delete the episodes of a source, say of an old DAgger run"
    ),
    "draw_states": Verb(
        "lit_distill.sim.states:draw_states", "draw a task's initial states (they are committed)"
    ),
    "evaluate": Verb(
        "lit_distill.study.evaluate:evaluate_teacher", "measure the teacher as a student is measured"
    ),
    "report": Verb("lit_distill.study.report:report", "make the tables and figures from the results"),
    "export": Verb("lit_distill.export.command:export", "a checked folder that runs a student without torch"),
    "prompts": Verb("lit_distill.teachers.prompts:prompts", "print the instructions of tasks, a line each"),
    "serve student": Verb(
        "lit_distill.serving.student:serve_student", "answer a robot over the network with a student"
    ),
    "serve teacher": Verb(
        "lit_distill.serving.teacher:serve_teacher", "answer queries over the network with any teacher"
    ),
    "doctor": Verb("lit_distill.doctor:doctor", "what works on this machine, what is missing, the remedy"),
}

EXTRAS = dict.fromkeys(("websockets", "msgpack", "httpx", "tenacity"), "serve")
"""Package -> the extra that brings it, of packages that only some commands need."""

LIGHTNING_COMMANDS: dict[str, str] = {
    "fit": "train a student",
    "validate": "measure the validation loss of a checkpoint",
    "test": "measure the success rate of a checkpoint in the simulator",
}


def usage() -> str:
    """Return the list of commands, a line each."""
    commands = {**LIGHTNING_COMMANDS, **{name: verb.summary for name, verb in VERBS.items()}}
    width = max(map(len, commands))
    lines = [f"  {name:<{width}}  {summary}" for name, summary in commands.items()]
    return "\n".join(
        [
            f"usage: {PROGRAM} COMMAND [--config FILE.yaml] [--key value ...]",
            "",
            *lines,
            "",
            f"{PROGRAM} COMMAND --help explains a command's options. Options given after --config win over",
            "the file; keys are dotted: --trainer.max_epochs 10 --data.task custom_libero_object_milk",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status.

    0: done; 1: the command says that something is wrong (doctor); 2: an error that the user can mend, or a
    server that does not answer, told in one line on stderr; 130: interrupted. Any other exception is a
    defect and keeps its traceback.
    """
    try:
        return _dispatch(list(sys.argv[1:] if arguments is None else arguments))
    except (LitDistillError, InfrastructureError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if arguments[0] in ("--version", "version"):
        from lit_distill import __version__

        print(f"lit_distill {__version__}")
        return 0
    command, *options = arguments
    if command in LIGHTNING_COMMANDS:
        from lit_distill.lightning_cli import run_lightning

        run_lightning(arguments)
        return 0
    if command in VERBS:
        return run_verb(command, options)
    if (two_words := " ".join(arguments[:2])) in VERBS:
        return run_verb(two_words, options[1:])
    if kinds := [name for name in VERBS if name.startswith(f"{command} ")]:
        raise LitDistillError(f"{command}: what? {' or '.join(f'`{PROGRAM} {kind}`' for kind in kinds)}")
    known = [*LIGHTNING_COMMANDS, *VERBS]
    close = difflib.get_close_matches(command, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
    raise LitDistillError(f"unknown command {command!r}; {hint}")


def run_verb(name: str, options: list[str]) -> int:
    """Parse the options (and `--config` files) of one of our commands, call its function, return its status.

    A first word without dashes stands for the function's first parameter: `collect TASK`, `verify FOLDER`.
    A function may return its exit status (int), or a path or a list, which is printed, an item a line.
    """
    from lit_distill.arguments import parse

    module, function_name = VERBS[name].target.split(":")
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module), function_name)
    except ModuleNotFoundError as error:
        if not (extra := EXTRAS.get(str(error.name))):
            raise
        remedy = f"python -m pip install 'lit_distill[{extra}]'"
        raise LitDistillError(f"{name}: needs {error.name}; {remedy}") from None
    parser = verb_parser(name, function)
    options = [teacher_option(VERBS[name], option) for option in options]
    if options and not options[0].startswith("-"):
        first = next(iter(inspect.signature(function).parameters), None)
        if first is not None:
            options = [f"--{first}", *options]
    config = parser.instantiate(parse(parser, options))
    config.pop("config", None)
    result = function(**config)
    if VERBS[name].shows_result:
        for item in result if isinstance(result, list) else [result] if isinstance(result, Path) else []:
            print(item)
    return result if isinstance(result, int) else 0


def teacher_option(verb: Verb, option: str) -> str:
    """`--teacher...` as the key that it stands for in a command, any other word as it is."""
    teacher, mark, rest = option.partition("--teacher")
    stands = mark and not teacher and (not rest or rest[0] in ".=") and verb.teacher
    return f"--{verb.teacher}{rest}" if stands else option


def verb_parser(name: str, function: Callable[..., Any]) -> Any:
    """Return the parser that jsonargparse makes from a function's signature and docstring."""
    from lit_distill.arguments import PARSER_MODE, OneLineErrorParser, describe

    prog = f"{PROGRAM} {name}"
    parser = OneLineErrorParser(
        prog=prog, description=describe(function), parser_mode=PARSER_MODE, allow_abbrev=False
    )
    parser.add_argument("-c", "--config", action="config", help="a YAML file with any of the options below")
    parser.add_function_arguments(function, as_positional=False)
    parser._action_groups[-1].title = "keys of the YAML file, and options"  # not the docstring once more
    return parser
