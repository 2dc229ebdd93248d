"""Every tutorial runs, checks its own numbers, and has what a tutorial needs."""
import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "tutorials").rglob("*.py"))

each = pytest.mark.parametrize("path", TUTORIALS, ids=lambda p: f"{p.parent.name}/{p.stem}")


def cells(path):
    """(is it text, lines) of every cell; what comes before the first is left out."""
    parts = re.split(r"^# %%(.*)\n", path.read_text(), flags=re.MULTILINE)
    return [("[markdown]" in head, body) for head, body in zip(parts[1::2], parts[2::2])]


def test_there_are_tutorials_for_both():
    assert {p.parent.name for p in TUTORIALS} == {"beginner", "expert"}


@each
def test_runs_and_says_that_it_is_done(path):
    # No folder of data is named: a tutorial needs nothing that is not installed.
    environment = {k: v for k, v in os.environ.items() if k != "GRADATIM_DATA"}
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=300,
                          env=environment | {"FAST": "1", "PYTHONIOENCODING": "utf-8"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"Done: {path.stem}"
    assert "Warning" not in done.stderr


@each
def test_has_title_cells_exercises_and_links(path):
    parts = cells(path)
    text = [body for is_text, body in parts if is_text]
    code = [body for is_text, body in parts if not is_text]
    assert text[0].startswith("# # "), "the first cell is the title"
    assert len(text) >= 5 and len(code) >= 5
    for body in text:
        assert all(line.startswith("#") for line in body.splitlines() if line)
    exercises = [number for number, body in enumerate(text) if "# ## Exercises\n" in body]
    assert len(exercises) == 1 and "# Answers" in text[exercises[0]]
    numbered = re.findall(r"^# (\d)\. ", text[exercises[0]], flags=re.MULTILINE)
    assert len(numbered) >= 3
    answers = path.read_text().split("# Answers:\n")[1]
    assert all(f'"{n}. ' in answers for n in numbered), "an exercise has no answer"
    for link in re.findall(r"`([\w./]+\.py)`", "".join(text)):
        assert (path.parent / link).exists() or (ROOT / link).exists(), link


@each
def test_first_success_takes_five_lines(path):
    first = next(body for is_text, body in cells(path) if not is_text)
    assert len(first.strip().splitlines()) <= 5 and "print(" in first


@each
def test_a_mistake_is_made_on_purpose_and_its_message_checked(path):
    tree = ast.parse(path.read_text())
    assert any(isinstance(node, ast.Try) and node.handlers for node in ast.walk(tree))
    assert "## A mistake, made on purpose" in path.read_text()
    assert re.search(r"^assert .*message", path.read_text(), flags=re.MULTILINE)


@each
def test_numbers_are_printed_and_asserted(path):
    for is_text, body in cells(path):
        if not is_text:
            ast.parse(body)                                # a cell is a whole piece of code
    source = path.read_text()
    assert max(map(len, source.splitlines())) <= 100
    assert source.count("\nassert ") >= 10 and source.count("print(") >= 10
