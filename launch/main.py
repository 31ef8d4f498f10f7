"""The command line: `hrgan prepare | train | generate | evaluate | explore | import | ...`.

Heavy imports stay inside the commands, so that help and completion answer at once.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.main import get_command

from launch.commands.average import average
from launch.commands.board import board
from launch.commands.configs import configs
from launch.commands.doctor import doctor
from launch.commands.encode import encode
from launch.commands.evaluate import evaluate
from launch.commands.explore import explore
from launch.commands.export import export
from launch.commands.generate import generate
from launch.commands.importing import import_weights
from launch.commands.init import init
from launch.commands.measure_data import measure_data
from launch.commands.prepare import prepare
from launch.commands.runs import runs
from launch.commands.submit import submit
from launch.commands.train import train
from launch.commands.translate import translate
from launch.failures import failure_line
from pipeline.errors import RunFailed, UserError
from pipeline.reading import shown

# Typer brings its own copy of click since 0.20 or so, and used the real one before: its public error
# type leads to whichever it is.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

EXIT_FAILED, EXIT_WRONG, EXIT_INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="hrgan",
    help="Distributed training of high-resolution GANs: shards in, images out, nothing lost.",
    epilog="Every command explains itself: hrgan train --help",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hrgan {importlib.metadata.version('hrgan')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


for _command in (init, prepare, train, generate, translate, evaluate):
    app.command(no_args_is_help=False)(_command)
app.command(no_args_is_help=False)(average)
app.command("import", no_args_is_help=False)(import_weights)
app.command(no_args_is_help=False)(encode)
app.command(no_args_is_help=False)(export)
app.command("measure-data", no_args_is_help=False)(measure_data)
app.command(no_args_is_help=False)(runs)
app.command(no_args_is_help=False)(board)
app.command(no_args_is_help=False)(configs)
app.command(no_args_is_help=False)(doctor)
app.add_typer(explore)
app.add_typer(submit)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code: 0 done, 2 wrong usage or input, 1 failed, 130 interrupted."""
    command: Callable[..., Any] = get_command(app).main
    try:
        return command(args=arguments, prog_name="hrgan", standalone_mode=False) or 0
    except (UserError, RunFailed) as error:
        return _complain(str(error), EXIT_WRONG if isinstance(error, UserError) else EXIT_FAILED)
    except _UsageError as error:
        return _complain(_usage(error), EXIT_WRONG)
    except (KeyboardInterrupt, typer.Abort):
        return _complain("interrupted", EXIT_INTERRUPTED)
    except (OSError, RuntimeError, MemoryError) as error:
        given = sys.argv[1:] if arguments is None else arguments
        line = failure_line(error, given)
        if line is None:
            raise
        return _complain(line, EXIT_FAILED)


def _complain(message: str, code: int) -> int:
    for line in message.splitlines():
        print(f"hrgan: error: {shown(line)}", file=sys.stderr)
    return code


def _usage(error: Any) -> str:
    """Wrong usage in one line, with what is near or allowed."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "hrgan"
    option, near = getattr(error, "option_name", None), getattr(error, "possibilities", None)
    text = " ".join(error.format_message().split())
    if option and near is not None:
        text = f"no such option: {option}"
        text += f"; did you mean {' or '.join(near)}?" if near else ""
        if path in ("hrgan train", "hrgan submit train") and not near:
            text += "; settings are written key.path=value, such as batch.size=16"
    if context is not None and text.startswith("Missing command"):
        text = f"missing command; allowed: {', '.join(context.command.list_commands(context))}"
    text = text.replace("Value error, ", "").replace("Input should be", "must be")
    text = (text[0].lower() + text[1:]).replace(". Did you mean", "; did you mean")
    return f"{text.rstrip('.')} (see {path} --help)"


if __name__ == "__main__":
    sys.exit(main())
