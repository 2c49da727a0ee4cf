"""Build tools for firmware, as far as the tests have them: their manifests read by their rules, and
projects in which stand-ins take the place of the commands of ESP-IDF and Zephyr."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from helpers import run_program

ARDUINO_FIELDS = "name version author maintainer sentence paragraph category url architectures"


def needs(*tools):
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} here")


def properties(path):
    """Arduino's key=value lines."""
    lines = [line.split("=", 1) for line in path.read_text().splitlines()]
    assert all(len(line) == 2 for line in lines)
    assert len(lines) == len({key for key, _ in lines})
    return dict(lines)


def yaml(path):
    import yaml as parser  # dask brings it

    return parser.safe_load(path.read_text())


def platformio_sources(folder):
    """What srcFilter takes of srcDir, by PlatformIO's rules: one pattern after another, a folder
    being all that is in it."""
    build = json.loads((folder / "library.json").read_text())["build"]
    base, taken = folder / build["srcDir"], set()
    for item in build["srcFilter"]:
        sign, pattern = re.fullmatch(r"([+-])<(.+)>", item).groups()
        found = list(base.glob(pattern))
        assert found
        files = {f for p in found for f in ([p] if p.is_file() else p.rglob("*")) if f.is_file()}
        taken = taken | files if sign == "+" else taken - files
    return sorted(p for p in taken if p.suffix in (".c", ".cpp", ".cc", ".S"))


# As ESP-IDF does: first in a script, for what a component requires, in which registering returns
# from the component's file; then in the build, where it makes a library.
ESP_SCRIPT = """
set(CMAKE_BUILD_EARLY_EXPANSION 1)
macro(idf_component_register)
    file(WRITE "{out}" "registered")
    return()
endmacro()
function(requirements)
    include("{folder}/CMakeLists.txt")
endfunction()
requirements()
"""
ESP_PROJECT = """
cmake_minimum_required(VERSION 3.16)
project(firmware LANGUAGES C)
set(ESP_PLATFORM 1)
function(idf_component_register)
    cmake_parse_arguments(PARSE_ARGV 0 given "" "" "SRCS;INCLUDE_DIRS")
    if(given_UNPARSED_ARGUMENTS)
        message(FATAL_ERROR "${given_UNPARSED_ARGUMENTS}")
    endif()
    add_library(component STATIC ${given_SRCS})
    foreach(include ${given_INCLUDE_DIRS})
        get_filename_component(include "${include}" ABSOLUTE)
        target_include_directories(component PUBLIC "${include}")
    endforeach()
endfunction()
"""
# Zephyr adds a module's folder that module.yml names, with its Kconfig options as variables.
ZEPHYR_PROJECT = """
cmake_minimum_required(VERSION 3.20)
project(firmware LANGUAGES C)
function(zephyr_library_named name)
    add_library(${name} STATIC)
    add_library(component ALIAS ${name})
    set(ZEPHYR_CURRENT_LIBRARY ${name} PARENT_SCOPE)
endfunction()
function(zephyr_library_sources)
    foreach(source ${ARGN})
        get_filename_component(source "${source}" ABSOLUTE)
        target_sources(${ZEPHYR_CURRENT_LIBRARY} PRIVATE "${source}")
    endforeach()
endfunction()
function(zephyr_include_directories)
    include_directories(${ARGN})
    set_property(GLOBAL PROPERTY includes ${ARGN})
endfunction()
"""
REPORT = """
get_target_property(sources component SOURCES)
get_target_property(where component SOURCE_DIR)
foreach(source ${sources})
    get_filename_component(source "${source}" ABSOLUTE BASE_DIR "${where}")
    file(APPEND "${CMAKE_BINARY_DIR}/sources" "${source}\\n")
endforeach()
"""
APP = """
add_executable(app main.c)
get_property(includes GLOBAL PROPERTY includes)
target_include_directories(app PRIVATE ${includes})
target_link_libraries(app PRIVATE component)
"""


def configured(folder, text):
    """The sources of the library `component` once CMake has run."""
    (folder / "CMakeLists.txt").write_text(text + REPORT)
    done = run_program(["cmake", "-S", folder, "-B", folder / "b", "-Wdev", "-Werror=dev"])
    assert not done.stderr
    return sorted(map(Path, (folder / "b/sources").read_text().splitlines()))


def esp_text(component, tmp_path):
    """The project's text with the component in it, after the script."""
    script, out = tmp_path / "script.cmake", tmp_path / "registered"
    script.write_text(ESP_SCRIPT.format(folder=component, out=out))
    run_program(["cmake", "-DESP_PLATFORM=1", "-P", script], cwd=tmp_path)
    assert out.read_text() == "registered"
    return ESP_PROJECT + f'add_subdirectory("{component}" component)\n'


def zephyr_text(module, options=()):
    given = yaml(module / "zephyr/module.yml")
    assert set(given) == {"name", "build"} and type(given["name"]) is str
    for key, value in given["build"].items():
        named = module / value / "CMakeLists.txt" if key == "cmake" else module / value
        assert key in ("cmake", "kconfig") and named.is_file()
    settings = "".join(f"set({option} y)\n" for option in options)
    folder = module / given["build"]["cmake"]
    return ZEPHYR_PROJECT + settings + f'add_subdirectory("{folder}" module)\n'
