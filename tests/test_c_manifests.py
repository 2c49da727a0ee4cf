"""The C library in the hands of tools for firmware: Arduino, ESP-IDF, Zephyr, PlatformIO. Their
manifests parse and name files that exist, all sources and no others; ESP-IDF's and Zephyr's CMake
files run with stand-ins for the commands that they call; the Arduino library compiles file by file,
and its sketch runs."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from firmware_tools import (
    ARDUINO_FIELDS,
    configured,
    esp_text,
    needs,
    platformio_sources,
    properties,
    yaml,
    zephyr_text,
)
from helpers import CORE, DATA, ROOT, WARNINGS, compile_objects, run_program
from test_format import V1_FILES

import lstmc

C_SRC = ROOT / "c_src"
MODEL = DATA / "v1_lstm.lstmc"
(DIGEST,) = V1_FILES[MODEL.name][1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_every_manifest_has_this_version():
    assert lstmc.__version__ == VERSION
    assert json.loads((C_SRC / "library.json").read_text())["version"] == VERSION
    assert yaml(C_SRC / "idf_component.yml")["version"] == VERSION
    assert properties(C_SRC / "arduino/library.properties")["version"] == VERSION


def test_platformio_takes_all_sources():
    given = json.loads((C_SRC / "library.json").read_text())
    assert {"name", "version", "description"} <= set(given)
    assert (C_SRC / given["build"]["includeDir"] / given["headers"]).is_file()
    assert platformio_sources(C_SRC) == list(map(Path, CORE))


def test_esp_idf_takes_all_sources(tmp_path):
    needs("cmake")
    given = yaml(C_SRC / "idf_component.yml")
    assert set(given) == {"version", "description", "license"}
    assert configured(tmp_path, esp_text(C_SRC, tmp_path)) == list(map(Path, CORE))


def test_zephyr_takes_all_sources_if_asked_to(tmp_path):
    needs("cmake")
    (option,) = re.findall(r"^config (\w+)$", (C_SRC / "zephyr/Kconfig").read_text(), flags=re.M)
    text = zephyr_text(C_SRC, ["CONFIG_" + option])
    assert configured(tmp_path, text) == list(map(Path, CORE))
    (tmp_path / "off").mkdir()
    text = zephyr_text(C_SRC) + "if(TARGET lstmc)\n    message(FATAL_ERROR lstmc)\nendif()\n"
    (tmp_path / "off/CMakeLists.txt").write_text(text)
    run_program(["cmake", "-S", tmp_path / "off", "-B", tmp_path / "off/b"])


def test_a_new_source_is_noticed(tmp_path):
    """By what was configured before, at the next build."""
    needs("cmake")
    shutil.copytree(C_SRC, tmp_path / "core", ignore=shutil.ignore_patterns("__pycache__"))
    text = "cmake_minimum_required(VERSION 3.16)\nproject(app LANGUAGES C)\n"
    text += "add_subdirectory(core)\nadd_library(component ALIAS lstmc)\nadd_custom_target(check)\n"
    before = configured(tmp_path, text)
    assert len(before) == len(CORE)
    (tmp_path / "core/layers/anew.c").touch()
    (tmp_path / "b/sources").unlink()
    run_program(["cmake", "--build", tmp_path / "b", "--target", "check"])
    after = map(Path, (tmp_path / "b/sources").read_text().splitlines())
    assert set(after) - set(before) == {tmp_path / "core/layers/anew.c"}


def test_kconfig_is_laid_out_as_kconfig_wants():
    """Attributes behind one tab, help behind a tab and two spaces, no symbol twice."""
    lines = (C_SRC / "zephyr/Kconfig").read_text().splitlines()
    assert lines[0] == "config LSTMC" and re.fullmatch(r'\tbool "[^"]+"', lines[1])
    at = lines.index("\thelp")
    assert all(re.fullmatch(r"\t(imply|select|depends on|default) \w+", a) for a in lines[2:at])
    assert all(line.startswith("\t  ") for line in lines[at + 1 :])


# ------------------------------------------------------------------------------------------ Arduino

# What a board's core brings, as far as the sketch uses it.
ARDUINO_H = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
enum { HEX = 16 };
struct SerialPort {
    void begin(unsigned long) {}
    void print(const char *s) { fputs(s, stdout); }
    void print(double x, int digits) { printf("%.*f", digits, x); }
    void println(const char *s) { puts(s); }
    void println(unsigned long x, int base = 10) { printf(base == HEX ? "%lX\n" : "%lu\n", x); }
};
static SerialPort Serial;
static inline unsigned long micros() { return 7; }
static inline void delay(unsigned long) { static int left = 2; if (!--left) exit(0); }
void setup();
void loop();
"""
ARDUINO_MAIN = "\nint main() { setup(); for (;;) loop(); }\n"
CPP = [*WARNINGS[1:], "-Wold-style-cast"]


@pytest.fixture(scope="module")
def arduino(tmp_path_factory):
    """The library's folder, as layout.py writes it."""
    folder = tmp_path_factory.mktemp("arduino")
    command = [sys.executable, "-P", C_SRC / "arduino/layout.py", MODEL, "-o", folder]
    assert run_program(command).stdout == f"{folder / 'lstmc'}\n"
    run_program(command)  # again, over what is there
    return folder / "lstmc"


def test_the_arduino_library_is_complete(arduino):
    given = properties(arduino / "library.properties")
    assert set(ARDUINO_FIELDS.split()) <= set(given)
    assert (arduino / "src" / given["includes"]).is_file()
    sources = sorted((arduino / "src").rglob("*.c"))
    assert [p.relative_to(arduino / "src") for p in sources] == [
        Path(s).relative_to(C_SRC) for s in CORE
    ]
    sketches = list((arduino / "examples").iterdir())
    assert sketches and all((s / f"{s.name}.ino").is_file() for s in sketches)
    with zipfile.ZipFile(arduino.with_suffix(".zip")) as archive:
        packed = {n: archive.read(n) for n in archive.namelist()}
    files = [p for p in arduino.rglob("*") if p.is_file()]
    assert packed == {str(p.relative_to(arduino.parent)): p.read_bytes() for p in files}


@pytest.mark.parametrize("compiler", ["gcc", "arm-none-eabi-gcc -mcpu=cortex-m4 -mfloat-abi=hard"])
def test_the_arduino_library_compiles_file_by_file(arduino, compiler, tmp_path):
    """Each source below src/, with src/ as the include path and the GNU C of Arduino's cores."""
    command = compiler.split()
    needs(command[0])
    for source in sorted((arduino / "src").rglob("*.c")):
        flags = ["-std=gnu11", "-Os", *WARNINGS[1:], f"-I{arduino / 'src'}"]
        run_program([*command, *flags, "-c", source, "-o", tmp_path / f"{source.stem}.o"])


def sketch(arduino, folder):
    """The sketch as the IDE hands it to the compiler: C++ with Arduino.h before it."""
    (folder / "Arduino.h").write_text(ARDUINO_H)
    source = arduino / "examples/forecast/forecast.ino"
    shutil.copy(source.parent / "model.h", folder)
    (folder / "forecast.cpp").write_text(
        "#include <Arduino.h>\n" + source.read_text() + ARDUINO_MAIN
    )
    return folder / "forecast.cpp"


@pytest.fixture(scope="module")
def library(arduino, tmp_path_factory):
    """Its objects: C is compiled by gcc whatever compiles the sketch."""
    needs("gcc")
    return compile_objects(tmp_path_factory.mktemp("library"), (arduino / "src").rglob("*.c"))


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_the_sketch_runs(arduino, library, compiler, tmp_path):
    needs(compiler)
    source = sketch(arduino, tmp_path)
    include = [f"-I{tmp_path}", f"-I{arduino / 'src'}"]
    run_program([compiler, "-std=c++17", *CPP, *include, source, *library, "-o", tmp_path / "run"])
    said = run_program([tmp_path / "run"]).stdout.splitlines()
    assert said[0] == f"digest {DIGEST:X}"
    assert len(said) == 3 and all(line.endswith(" in microseconds: 0") for line in said[1:])
    text = source.read_text().replace("digest != out", "digest == out")
    source.write_text(text)
    run_program([compiler, "-std=c++11", *include, source, *library, "-o", tmp_path / "run"])
    assert "not the bits of the computer" in run_program([tmp_path / "run"]).stdout


def test_the_sketch_compiles_for_a_board(arduino, tmp_path):
    needs("arm-none-eabi-g++")
    include = [f"-I{tmp_path}", f"-I{arduino / 'src'}"]
    flags = ["-mcpu=cortex-m4", "-mfloat-abi=hard", "-std=gnu++17", *CPP, "-Wno-pedantic"]
    source = sketch(arduino, tmp_path)
    run_program(["arm-none-eabi-g++", *flags, *include, "-c", source, "-o", tmp_path / "o"])


def test_layout_refuses_what_is_no_model(tmp_path):
    (tmp_path / "m.lstmc").write_bytes(b"abc")
    for name, why in (("m.lstmc", "not an .lstmc file"), ("gone.lstmc", "No such file")):
        command = [sys.executable, C_SRC / "arduino/layout.py", name, "-o", "out"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and why in done.stderr and done.stderr.count("\n") == 1
        assert not (tmp_path / "out").exists()
