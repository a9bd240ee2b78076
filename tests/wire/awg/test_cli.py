import json

import pytest
from click.testing import CliRunner, Result

import pharos.cli
from pharos.wire.awg.confread import parse
from pharos.wire.awg.params import Generation, ObfuscationParameters

KEY = "YAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="


def run(*arguments: str, text: str | bytes = "") -> Result:
    return CliRunner().invoke(pharos.cli.main, ["awg", *arguments], input=text)


@pytest.mark.parametrize("generation", [generation for generation in Generation if generation])
def test_generated_lines_are_good_for_a_file_of_that_generation(generation):
    done = run("generate", "--for", str(generation))
    assert done.exit_code == 0
    assert parse(f"[Interface]\n{done.output}").interface.parameters.generation is generation
    linted = run(
        "lint", "-", "--for", str(generation), text=f"[Interface]\nPrivateKey = {KEY}\nMTU = 1380\n{done.output}"
    )
    assert (linted.exit_code, linted.output) == (0, "")


def test_generated_parameters_are_json_if_wanted():
    mapping = json.loads(run("generate", "--json").output)
    assert ObfuscationParameters.from_mapping(mapping).generation is Generation.V3_1


def test_lint_tells_every_error_and_fails():
    done = run("lint", "-", text="[Interface]\nS1 = 9999\nPostUp = x\nWhat\n")
    assert done.exit_code == 1
    assert done.stdout == (
        "error: line 2: S1 = 9999: must be from 0 to 1132\n"
        "error: line 4: What: must be [Interface], [Peer] or Key = value\n"
    )
    assert "2 errors, 0 warnings" in done.stderr


def test_lint_warns_and_does_not_fail():
    done = run("lint", "-", "--json", text=f"[Interface]\nPrivateKey = {KEY}\nMTU = 1500\n")
    assert done.exit_code == 0
    assert json.loads(done.output) == [
        {
            "severity": "warning",
            "key": "MTU",
            "value": "1500",
            "line": 3,
            "rule": "at most 1440 bytes fit a path of 1500 with S4 = 0",
        }
    ]


def test_tidy_writes_one_spelling_and_no_hook_unless_asked():
    text = f"# mine\n[interface]\nprivatekey={KEY}\nMTU =1400 # small\n"
    assert run("tidy", "-", text=text).output == f"[Interface]\nPrivateKey = {KEY}\nMTU = 1400\n"
    hooked = text + "PostUp = true\n"
    done = run("tidy", "-", text=hooked)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "line 5: PostUp = true: must be asked for" in done.stderr
    assert "PostUp = true\n" in run("tidy", "--hooks", "-", text=hooked).output


@pytest.mark.parametrize("command", ["lint", "tidy"])
def test_a_file_of_no_text_is_an_error_and_no_traceback(command):
    done = run(command, "-", text=bytes(range(256)))
    assert done.exit_code == 1
    assert "line 1" in done.output
