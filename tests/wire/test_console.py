"""Commands end in one sentence and the exit code that fits; a bug keeps its traceback."""

from __future__ import annotations

import json
from collections.abc import Callable

import click
import pytest
from click.testing import CliRunner, Result

from pharos.wire import console
from pharos.wire.console import CommandError, Exit, print_facts, print_json, reports_errors
from pharos.wire.errors import AgentError, LinkLostError, LinkRefusedError, PeerRejectedError, StateFileError


def run(body: Callable[[], None]) -> Result:
    @click.command()
    @reports_errors
    def command() -> None:
        body()

    return CliRunner().invoke(command)


def raising(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LinkRefusedError("said no"), Exit.REFUSED),
        (PeerRejectedError("said no"), Exit.REFUSED),
        (LinkLostError("said no"), Exit.UNREACHABLE),
        (StateFileError("said no"), Exit.FAILED),
        (AgentError("said no"), Exit.FAILED),
        (CommandError("said no", Exit.CONFLICT), Exit.CONFLICT),
        (OSError("said no"), Exit.FAILED),
        (ExceptionGroup("nursery", [ExceptionGroup("inner", [LinkLostError("said no")])]), Exit.UNREACHABLE),
    ],
)
def test_failure_is_one_sentence_with_its_exit_code(error: Exception, code: Exit) -> None:
    result = run(raising(error))
    assert result.output == "Error: said no\n"
    assert result.exit_code == code


def test_error_without_a_message_says_its_docstring() -> None:
    assert run(raising(LinkLostError())).output == "Error: The peer went away; it is redialled by itself.\n"


def test_bug_keeps_its_traceback() -> None:
    assert isinstance(run(raising(ZeroDivisionError())).exception, ZeroDivisionError)


def test_bug_beside_a_failure_is_not_hidden() -> None:
    result = run(raising(ExceptionGroup("both", [LinkLostError("lost"), ZeroDivisionError()])))
    assert isinstance(result.exception, ExceptionGroup)
    assert result.exception.subgroup(ZeroDivisionError)


def test_usage_error_stays_clicks_own() -> None:
    assert run(raising(click.UsageError("no such thing"))).exit_code == Exit.USAGE


def test_success_is_silent_and_zero() -> None:
    result = run(lambda: None)
    assert (result.output, result.exit_code) == ("", Exit.DONE)


def test_json_is_one_document_and_keeps_letters() -> None:
    result = run(lambda: print_json({"name": "Łódź"}))
    assert json.loads(result.output) == {"name": "Łódź"}
    assert "Łódź" in result.output


def test_facts_are_aligned_lines_or_one_document() -> None:
    facts = {"id": "a", "certificate_ends": "2030"}
    assert run(lambda: print_facts(facts, as_json=False)).output == "id                a\ncertificate ends  2030\n"
    assert json.loads(run(lambda: print_facts(facts, as_json=True)).output) == facts
    assert run(lambda: print_facts({}, as_json=False)).output == ""


def test_every_error_of_the_wire_has_a_code() -> None:
    assert console.exit_code_of(StateFileError()) is Exit.FAILED
