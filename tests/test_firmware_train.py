"""examples/firmware-train by its make target, and docs/howto/train-on-chip.md: its commands and C
run as they stand there, compared with the page's own Python."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT, c_compiler
from test_firmware_examples import board, made, near, said, shell  # noqa: F401

import lstmc

EXAMPLES = ROOT / "examples"
README = (EXAMPLES / "firmware-train/README.md").read_text()
PAGE = (ROOT / "docs/howto/train-on-chip.md").read_text()

pytest.importorskip("onnx")


@pytest.mark.parametrize(
    ("row", "options"), [("all layers", ""), ("the last layer", "--freeze lstm")]
)
def test_it_learns(board, tmp_path, row, options):  # noqa: F811
    """To this computer's bits, says adapt.py; and what the README says of it."""
    text = made("train-firmware", tmp_path, TRAIN=options)
    assert "the same bits on this computer" in text and "weights" in text.splitlines()[-1]
    found = re.search(rf"^\| {row}.*? \| (.*) \|$", README, re.M)
    error, instructions, ram, stack, code = (
        cell.replace(",", "").removesuffix(" bytes") for cell in found[1].split(" | ")
    )
    before, after = re.search(r"before +([\d.]+)", text), re.search(r"after +([\d.]+)", text)
    assert f"| {before[1]} degrees C |" in README and after[1] == error
    near(int(said(text, "instructions")), int(instructions), row)
    assert said(text, "RAM  ") == ram
    near(int(said(text, "stack")), int(stack), f"stack, {row}")
    near(int(re.search(r"^ +(\d+)\s.*\sforecaster.o$", text, re.M)[1]), int(code), f"code, {row}")


def test_other_bits_are_seen(board, tmp_path):  # noqa: F811
    text = made("train-firmware", tmp_path, TRAIN="--freeze lstm")
    output = (tmp_path / "said.txt").read_text()
    weights = re.search(r"^weights +(\w{8})$", text, re.M)[1]
    (tmp_path / "said").write_text(output.replace(weights, f"{int(weights, 16) ^ 1:08x}"))
    command = [
        sys.executable, "-P", EXAMPLES / "firmware-train/adapt.py", "compare", "m4f",
        tmp_path / "forecaster.lstmc",
    ]  # fmt: skip
    for name, right in (("said.txt", True), ("said", False)):
        done = subprocess.run(
            [*command, tmp_path / name, "--freeze", "lstm"], capture_output=True, check=False
        )
        assert (done.returncode == 0) is right


# -------------------------------------------------------------------- docs/howto/train-on-chip.md


def piece(language):
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)
    return found


MAIN = """
#include <stdio.h>
int main(void) {
    static float x[FORECASTER_TRAIN_TIME * FORECASTER_INPUT_SIZE];
    static uint32_t words[FORECASTER_SAVED_WORDS];
    float truth;
    if (app_begin(NULL)) return 1;
    while (fread(x, sizeof x, 1, stdin) == 1 && fread(&truth, sizeof truth, 1, stdin) == 1) {
        (void)app_learn(x, truth);
    }
    app_store(words);
    if (app_begin(words)) return 2;
    app_store(words);
    fwrite(words, sizeof words, 1, stdout);
    return 0;
}
"""


def test_the_page(tmp_path):
    """A batch of four on the chip is the page's own batch on the computer."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin/lstmc"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m lstmc "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    shutil.copy(EXAMPLES / "weather/forecaster.onnx", tmp_path)
    shell(piece("sh"), tmp_path)
    (tmp_path / "app.c").write_text(piece("c") + MAIN)
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-O1"]
    build = [*c_compiler(), *strict, "-Imodel", "app.c", "model/*.c", "-o", "app"]
    shell(" ".join(build), tmp_path)

    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 30, 10)).astype(np.float32)
    truth = rng.standard_normal((4, 1)).astype(np.float32)
    data = b"".join(a.tobytes() + b.tobytes() for a, b in zip(x, truth, strict=True))
    done = subprocess.run([tmp_path / "app"], input=data, capture_output=True, check=True)
    code = piece("python").replace("forecaster.lstmc", str(tmp_path / "forecaster.lstmc"))
    names = {"lstmc": lstmc, "x": x, "truth": truth}
    exec(code, names)  # the page's own lines
    assert done.stdout == names["words"].tobytes()
