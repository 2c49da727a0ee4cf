"""An exported folder in the hands of build tools: what lstmc.export.manifests writes is read
by each tool's rules or by its stand-in, the model's sources are compiled and no others, and a
program with them runs."""

import json

import pytest
from firmware_tools import (
    APP,
    ARDUINO_FIELDS,
    configured,
    esp_text,
    needs,
    platformio_sources,
    properties,
    yaml,
    zephyr_text,
)
from helpers import run_program

from lstmc.export.manifests import manifests

# A folder as `lstmc export` lays it out: files that are included and an example, which no tool may
# compile, lie in folders of their own.
EXPORTED = {
    "vad.c": '#include "vad.h"\n#include "core/part.c"\n'
    "void vad_step(const float *x, float *y) { *y = twice(*x); }\n",
    "vad.h": '#ifdef __cplusplus\nextern "C"\n#endif\nvoid vad_step(const float *x, float *y);\n',
    "vad_weights.c": "extern const float vad_weight;\nconst float vad_weight = 2.0f;\n",
    "core/part.c": "extern const float vad_weight;\n"
    "static float twice(float x) { return vad_weight * x; }\n",
    "example/main.c": "#error not for tools\n",
}
VAD_APP = """#include "vad.h"
#include <stdio.h>
int main(void) { float x = 21, y; vad_step(&x, &y); printf("%g\\n", (double)y); return 0; }
"""


@pytest.fixture
def exported(tmp_path):
    """In a folder whose name is not the model's, with a space."""
    folder = tmp_path / "my model"
    for name, text in {**EXPORTED, **manifests("vad", EXPORTED, "1.2.3")}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def vad_sources(folder):
    return [folder / "vad.c", folder / "vad_weights.c"]


def test_an_exported_model_by_cmake(exported, tmp_path):
    needs("cmake")
    check_app(tmp_path, PLAIN_PROJECT + f'add_subdirectory("{exported}" vad)\n', exported)
    alone = tmp_path / "alone"
    run_program(["cmake", "-S", exported, "-B", alone, "-Wdev", "-Werror=dev"])
    run_program(["cmake", "--build", alone])
    assert (alone / "libvad.a").is_file()


PLAIN_PROJECT = """
cmake_minimum_required(VERSION 3.16)
project(app LANGUAGES C)
"""


def check_app(folder, text, exported):
    """A program with the component runs; the component has the sources of the model."""
    (folder / "main.c").write_text(VAD_APP)
    if "add_library" not in text:
        text += "add_library(component ALIAS vad)\n"
    assert configured(folder, text + APP) == vad_sources(exported)
    run_program(["cmake", "--build", folder / "b"])
    assert run_program([folder / "b/app"]).stdout == "42\n"


def test_an_exported_model_in_esp_idf(exported, tmp_path):
    needs("cmake")
    check_app(tmp_path, esp_text(exported, tmp_path), exported)


def test_an_exported_model_in_zephyr(exported, tmp_path):
    needs("cmake")
    text = zephyr_text(exported)
    assert yaml(exported / "zephyr/module.yml")["name"] == "vad"
    check_app(tmp_path, text, exported)


def test_an_exported_model_in_platformio(exported):
    given = json.loads((exported / "library.json").read_text())
    assert given["name"] == "vad" and given["version"] == "1.2.3"
    assert (exported / given["build"]["includeDir"] / given["headers"]).is_file()
    assert platformio_sources(exported) == vad_sources(exported)


def test_an_exported_model_in_arduino(exported):
    """Without src/ Arduino compiles what lies in the folder itself and in utility/."""
    given = properties(exported / "library.properties")
    assert set(ARDUINO_FIELDS.split()) <= set(given)
    assert given["name"] == "vad" and given["version"] == "1.2.3"
    assert (exported / given["includes"]).is_file()
    assert not (exported / "src").exists() and not (exported / "utility").exists()
    assert sorted(exported.glob("*.c")) == vad_sources(exported)


@pytest.mark.parametrize("name", ["on", "no", "null", "e1"])
def test_a_name_that_yaml_takes_for_something_else(name, tmp_path):
    (tmp_path / "module.yml").write_text(manifests(name, [f"{name}.c"])["zephyr/module.yml"])
    assert yaml(tmp_path / "module.yml")["name"] == name


def test_manifests_refuse_what_does_not_fit():
    for name in ("", "a b", "1st", "_x", "a\nurl=", "a)", "\u00e4"):
        with pytest.raises(ValueError, match="no name for a library"):
            manifests(name, ["a.c"])
    for files in ([], ["vad.h"], ["example/main.c"]):
        with pytest.raises(ValueError, match="nothing to compile"):
            manifests("vad", files)
    for version in ("1", "1.2", "1.2.3\n", "v1.2.3"):
        with pytest.raises(ValueError, match="no version"):
            manifests("vad", ["vad.c"], version)
