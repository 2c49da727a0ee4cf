"""Files by which build tools take an exported folder as it is.

The folder is flat: sources and headers in it, nothing in ``src/`` or ``utility/``. So `cc -c *.c`
builds it, and so does Arduino, which compiles just these of a library without ``src/``. Whatever is
in a folder below is compiled by none of the tools.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

CMAKE = """\
# {name}, a model exported by lstmc: a library {name} for add_subdirectory, a component for ESP-IDF,
# a module for Zephyr.
cmake_minimum_required(VERSION 3.16)

set(sources {sources})
if(ESP_PLATFORM)
    idf_component_register(SRCS ${{sources}} INCLUDE_DIRS ".")
elseif(COMMAND zephyr_library_named)
    zephyr_library_named({name})
    zephyr_library_sources(${{sources}})
    zephyr_include_directories("${{CMAKE_CURRENT_LIST_DIR}}")
else()
    project({name} LANGUAGES C)
    add_library({name} STATIC ${{sources}})
    target_include_directories({name} PUBLIC "${{CMAKE_CURRENT_LIST_DIR}}")
    target_compile_features({name} PRIVATE c_std_99)
    set_target_properties({name} PROPERTIES C_EXTENSIONS OFF)
endif()
"""

ZEPHYR = """\
name: "{name}"
build:
  cmake: .
"""

ARDUINO = """\
name={name}
version={version}
author=lstmc
maintainer=lstmc
sentence={sentence}
paragraph=Made by lstmc export. Takes no heap. For 32-bit boards.
category=Data Processing
url=
architectures=*
includes={name}.h
"""


def manifests(name: str, files: Iterable[str], version: str = "0.1.0") -> dict[str, str]:
    """Texts by path, relative to the exported folder, both with ``/``.

    ``name`` is the export's: a C identifier that begins with a letter. ``files`` are all other
    files of the folder; those in the folder itself that end in ``.c`` are compiled. ``version`` is
    the model's, three numbers. ValueError if a name doesn't fit or there is nothing to compile.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ValueError(f"{name!r} is no name for a library: letters, digits and _")
    if not re.fullmatch(r"[0-9]+(\.[0-9]+){2}", version):
        raise ValueError(f"{version!r} is no version: three numbers, 1.0.0")
    sources = sorted(f for f in files if re.fullmatch(r"[A-Za-z0-9_.-]+\.c", f))
    if not sources:
        raise ValueError(f"nothing to compile for {name}")
    sentence = f"The recurrent network {name} as C, with the same output bits everywhere."
    package = {
        "name": name,
        "version": version,
        "description": sentence,
        "frameworks": "*",
        "platforms": "*",
        "headers": f"{name}.h",
        "build": {
            "srcDir": ".",
            "includeDir": ".",
            "srcFilter": ["-<*>", *(f"+<{s}>" for s in sources)],
        },
    }
    return {
        "CMakeLists.txt": CMAKE.format(name=name, sources=" ".join(sources)),
        "library.json": json.dumps(package, indent=2) + "\n",
        "library.properties": ARDUINO.format(name=name, version=version, sentence=sentence),
        "zephyr/module.yml": ZEPHYR.format(name=name),
    }
