"""The C library by CMake and pkg-config: configured, built, installed, found and run, with the very
commands of docs/howto/c-library.md."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers import CORE, DATA, ROOT, WARNINGS, run_program
from test_format import V1_FILES

MODEL = "v1_lstm.lstmc"
(DIGEST,) = (f"{d:08x}\n" for d in V1_FILES[MODEL][1])
PAGE = (ROOT / "docs/howto/c-library.md").read_text()
CPP = ["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]

pytestmark = pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")


def pieces(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.S)


(MAIN,) = pieces("c")
FOUND, *PARTS = pieces("cmake")
INSTALL, USE, PKG_CONFIG = pieces("sh")
(FIND,) = re.findall(r"find_package.*\n", FOUND)


def needs(*tools):
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} here")


def shell(script, folder, **environment):
    """Run it in the folder; what it prints, which has no warning."""
    given = {k: v for k, v in os.environ.items() if not k.startswith(("PKG_", "CMAKE_"))}
    given |= {"CMAKE_BUILD_PARALLEL_LEVEL": "2", **environment}
    done = subprocess.run(
        ["sh", "-e", "-c", script],
        cwd=folder,
        env=given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}"
    assert "warning" not in (done.stdout + done.stderr).lower()
    return done.stdout


def workspace(folder):
    """What the page takes for granted: the repository, a model, main.c."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lstmc").symlink_to(ROOT)
    (folder / "main.c").write_text(MAIN)
    (folder / "CMakeLists.txt").write_text(FOUND)
    shutil.copy(DATA / MODEL, folder / "model.lstmc")
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = workspace(tmp_path_factory.mktemp("package"))
    shell(INSTALL, folder)
    return folder


def test_found_by_cmake(installed):
    assert shell(USE, installed).endswith(DIGEST)


def test_what_is_installed(installed):
    prefix = installed / "prefix"
    files = {str(p.relative_to(prefix)) for p in prefix.rglob("*") if p.is_file()}
    package = "lib/cmake/lstmc/lstmcConfig"
    assert files == {
        "include/lstmc.h",
        "include/lstmc_train.h",
        "lib/liblstmc.a",
        "lib/pkgconfig/lstmc.pc",
        f"{package}.cmake",
        f"{package}-release.cmake",
        f"{package}Version.cmake",
    }
    objects = run_program(["ar", "t", prefix / "lib/liblstmc.a"]).stdout.split()
    assert sorted(objects) == sorted(Path(s).name + ".o" for s in CORE)


@pytest.mark.parametrize("version, fits", [("0.1.0", 1), ("0.1.9", 0), ("0.2", 0), ("1", 0)])
def test_only_a_version_that_fits(installed, tmp_path, version, fits):
    text = FOUND.replace("lstmc 0.1 REQUIRED", f"lstmc {version}")
    text += 'message(NOTICE "found=${lstmc_FOUND}")\n'
    text = text.replace("lstmc::lstmc", "").replace("LANGUAGES C", "LANGUAGES NONE")
    text = re.sub(r"(add_exe|target_link).*\n", "", text)
    (tmp_path / "CMakeLists.txt").write_text(text)
    command = ["cmake", "-S", tmp_path, "-B", tmp_path / "b"]
    done = run_program([*command, f"-DCMAKE_PREFIX_PATH={installed / 'prefix'}"])
    assert f"found={fits}\n" in done.stderr


@pytest.mark.parametrize("part", PARTS, ids=["add_subdirectory", "FetchContent"])
def test_part_of_a_project(part, tmp_path):
    """With this project's own strict flags; it installs nothing of lstmc."""
    folder = workspace(tmp_path / "a b")
    assert FIND in FOUND
    text = FOUND.replace(FIND, part) + "install(TARGETS app DESTINATION bin)\n"
    (folder / "CMakeLists.txt").write_text(text)
    flags = " ".join(w for w in WARNINGS if not w.startswith("-std"))
    shell(f"cmake -S . -B b -DCMAKE_C_FLAGS='{flags}' -Wdev -Werror=dev", folder)
    shell("cmake --build b && cmake --install b --prefix p", folder)
    assert shell("p/bin/app model.lstmc", folder) == DIGEST
    assert [p.name for p in (folder / "p").rglob("*") if p.is_file()] == ["app"]


def test_by_pkg_config(installed):
    needs("pkg-config", "cc")
    assert shell(PKG_CONFIG, installed) == DIGEST


@pytest.mark.parametrize("compiler", ["gcc", "clang", "g++", "clang++"])
def test_pkg_config_goes_with_a_moved_tree(installed, compiler, tmp_path):
    """Into a folder with a space, in C and C++."""
    needs("pkg-config", compiler)
    shutil.copytree(installed / "prefix", tmp_path / "mo ved")
    flags = pkg_config(tmp_path / "mo ved/lib/pkgconfig")
    assert str(tmp_path / "mo ved") in flags[0] and str(installed) not in str(flags)
    language = [*CPP, "-x", "c++"] if "++" in compiler else WARNINGS
    source = [installed / "main.c", "-x", "none"]
    run_program([compiler, *language, *source, *flags, "-o", tmp_path / "app"])
    assert run_program([tmp_path / "app", installed / "model.lstmc"]).stdout == DIGEST


def pkg_config(folder):
    """The flags, as words."""
    done = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "lstmc"],
        env={"PATH": os.environ["PATH"], "PKG_CONFIG_PATH": str(folder)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return shlex.split(done.stdout)


def declared():
    headers = ("lstmc.h", "lstmc_train.h")
    header = "".join((ROOT / "c_src" / name).read_text() for name in headers)
    return set(re.findall(r"\b(lstmc_\w+)\(", re.sub(r"/\*.*?\*/", "", header, flags=re.S)))


def test_shared_and_staged(tmp_path):
    """A shared library as a distribution makes it: in a folder of its own below DESTDIR."""
    folder, stage = workspace(tmp_path), tmp_path / "sta ge"
    library = "usr/lib/machine-os"
    shell(
        "cmake -S lstmc/c_src -B b -DBUILD_SHARED_LIBS=ON -DCMAKE_INSTALL_PREFIX=/usr"
        " -DCMAKE_INSTALL_LIBDIR=lib/machine-os && cmake --build b && cmake --install b",
        folder,
        DESTDIR=str(stage),
    )
    names = {p.name for p in (stage / library).iterdir()}
    assert names > {"liblstmc.so", "liblstmc.so.0.1", "liblstmc.so.0.1.0"}
    needs("nm", "pkg-config")
    table = run_program(["nm", "-D", "--defined-only", stage / library / "liblstmc.so"]).stdout
    assert {line.split()[-1] for line in table.splitlines()} == declared()
    flags = [f"-Wl,-rpath,{stage / library}", *pkg_config(stage / library / "pkgconfig")]
    run_program(["cc", "-std=c99", folder / "main.c", *flags, "-o", tmp_path / "app"])
    assert run_program([tmp_path / "app", folder / "model.lstmc"]).stdout == DIGEST
    assert "liblstmc.so.0.1]" in run_program(["readelf", "-d", tmp_path / "app"]).stdout
    shell(f"cmake -S . -B c -Dlstmc_DIR='{stage / library}/cmake/lstmc'", folder)
    shell("cmake --build c", folder)
    assert shell("c/app model.lstmc", folder) == DIGEST


def test_absolute_folders_in_the_pkg_config_file(tmp_path):
    """As Nix has them."""
    needs("pkg-config")
    options = ["-DCMAKE_INSTALL_LIBDIR=/x y/lib", "-DCMAKE_INSTALL_INCLUDEDIR=/x y/include"]
    run_program(["cmake", "-S", ROOT / "c_src", "-B", tmp_path, *options])
    assert pkg_config(tmp_path) == ["-I/x y/include", "-L/x y/lib", "-llstmc"]


@pytest.mark.parametrize("compiler", ["g++", "clang++", "gcc", "clang"])
def test_the_pages_program_is_clean(compiler, tmp_path):
    needs(compiler)
    source = tmp_path / ("main.cpp" if "++" in compiler else "main.c")
    source.write_text(MAIN)
    flags = CPP if "++" in compiler else WARNINGS
    run_program([compiler, *flags, "-fsyntax-only", "-I", ROOT / "c_src", source])
