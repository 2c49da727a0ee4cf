"""The C library laid out as an Arduino library, with a sketch that runs a model.

    python c_src/arduino/layout.py MODEL.lstmc -o FOLDER

writes FOLDER/lstmc, to be put among a sketchbook's libraries, and FOLDER/lstmc.zip, for the IDE's
"Add .ZIP Library". Arduino compiles all sources below src/, with src/ as the one include path.
"""

from __future__ import annotations

import argparse
import array
import shutil
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
CORE = HERE.parent


def sources() -> list[Path]:
    """What is compiled and included, as in `cc c_src/*.c c_src/*/*.c`, below c_src."""
    files = [p for pattern in ("*.[ch]", "*/*.[ch]") for p in CORE.glob(pattern)]
    return sorted(p.relative_to(CORE) for p in files)


def model_header(model: Path) -> str:
    """An .lstmc file as a C array of words: little-endian, aligned to 4 bytes as a blob must be."""
    data = model.read_bytes()
    if not data or len(data) % 4:
        raise ValueError(f"{model}: not an .lstmc file")
    words = array.array("I", data)
    if sys.byteorder == "big":
        words.byteswap()
    lines = [", ".join(f"0x{w:08x}" for w in words[i : i + 8]) for i in range(0, len(words), 8)]
    return (
        f"// {model.name}, {len(data)} bytes\n#include <stdint.h>\n\n"
        "static const uint32_t model_blob[] = {\n    " + ",\n    ".join(lines) + "};\n"
    )


def lay_out(model: Path, folder: Path) -> Path:
    """Write FOLDER/lstmc and FOLDER/lstmc.zip anew; returns the library's folder."""
    header = model_header(model)
    library = folder / "lstmc"
    if library.exists():
        shutil.rmtree(library)
    for source in sources():
        target = library / "src" / source
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(CORE / source, target)
    shutil.copytree(HERE / "examples", library / "examples")
    (library / "examples/forecast/model.h").write_text(header, encoding="utf-8")
    shutil.copyfile(HERE / "library.properties", library / "library.properties")
    licence = CORE.parent / "LICENSE"
    if licence.exists():
        shutil.copyfile(licence, library / "LICENSE")
    with zipfile.ZipFile(folder / "lstmc.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(library.rglob("*")):
            if path.is_file():  # the same archive for the same files
                entry = zipfile.ZipInfo(path.relative_to(folder).as_posix())
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, path.read_bytes())
    return library


def main() -> int:
    parser = argparse.ArgumentParser(description="lay lstmc out as an Arduino library")
    parser.add_argument("model", type=Path, help="an .lstmc file with one input and one output")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/arduino"))
    args = parser.parse_args()
    try:
        print(lay_out(args.model, args.output))
    except (OSError, ValueError) as e:
        print(f"layout.py: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
