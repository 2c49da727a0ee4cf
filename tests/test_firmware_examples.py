"""The firmware examples, by their make targets, and docs/howto/embed.md: its commands and its C run
as they stand there. Bits are compared with this computer's, instructions with the page's table."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT, WARNINGS, c_compiler, run_program

import lstmc
from lstmc import presets

EXAMPLES = ROOT / "examples"
MODELS = ROOT.parent / "shared/models"
PAGE = (ROOT / "docs/howto/embed.md").read_text()
TOLERANCE = 0.02

sys.path[:0] = [str(EXAMPLES / name) for name in ("weather", "audio", "vad")]
import audio  # noqa: E402
import vad  # noqa: E402
import weather  # noqa: E402

pytest.importorskip("onnx")


def needs(*tools):
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} here")


@pytest.fixture
def board():
    needs("make", "arm-none-eabi-gcc", "qemu-system-arm")


def make(target, build, **settings):
    """What `make target` does, for the lstmc that is being tested, as it is."""
    given = {"BUILD": build, "BUILT": "", **settings}
    words = " ".join(f"{k}='{v}'" for k, v in given.items())
    venv = os.path.relpath(sys.prefix, ROOT)  # no path with a space for make
    stamps = [f"--assume-old={venv}/{name}" for name in ("built", "heard-with")]
    command = ["make", "-s", *stamps, target, f"VENV={venv}", f"ARGS={words}"]
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")  # of the make that runs the tests
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
        env={k: v for k, v in os.environ.items() if k not in outer},
    )  # fmt: skip


def made(target, build, **settings):
    done = make(target, build, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stdout + done.stderr
    return done.stdout


def said(text, what):
    return re.search(rf"^{what} +(\S+)", text, re.M)[1]


def near(found, stated, what):
    """Instructions as the page says, by the compiler that it names."""
    version = subprocess.run(
        ["arm-none-eabi-gcc", "-dumpversion"], capture_output=True, text=True, check=True
    ).stdout
    if version.strip() in PAGE:
        assert abs(found - stated) <= TOLERANCE * stated, f"{what}: {found:,}, not {stated:,}"


def test_board(board, tmp_path):
    """Start-up code, output and timer, without a model."""
    folder, program = EXAMPLES / "firmware", tmp_path / "board.elf"
    for cpu, machine in (("cortex-m0", "mps2-an385"), ("cortex-m7", "mps2-an500")):
        memory = {"CODE": 0, "CODE_SIZE": 1 << 20, "DATA": 0x20000000, "DATA_SIZE": 1 << 20}
        places = [f"-Wl,--defsym={k}={v:#x}" for k, v in {**memory, "STACK_SIZE": 1024}.items()]
        run_program(
            ["arm-none-eabi-gcc", "-mthumb", f"-mcpu={cpu}", *WARNINGS, "-std=c99", "-O2",
             f"-I{folder}", ROOT / "tests/c/board_main.c", folder / "board.c", "-nostartfiles",
             "-T", folder / "link.ld", *places, "-o", program]
        )  # fmt: skip
        done = subprocess.run(
            ["qemu-system-arm", "-M", machine, "-icount", "shift=0", "-display", "none",
             "-monitor", "none", "-serial", "none", "-chardev", "stdio,id=said",
             "-semihosting-config", "enable=on,target=native,chardev=said", "-kernel", program],
            capture_output=True, text=True, check=False, timeout=100,
        )  # fmt: skip
        assert done.returncode == 41, done.stdout + done.stderr
        assert done.stdout.splitlines() == [
            "321",
            "     0.0|     3.3|    -3.3|     0.0|    -0.1|   100.0|123456.0|-3|"
            "  4294967295|0123abcd",
            f"{round(2 * 0x16000000 / 1e6)} million",
        ]


# ------------------------------------------------------------------------------- the forecaster


@pytest.fixture(scope="module")
def forecaster():
    return lstmc.convert(EXAMPLES / "weather/forecaster.onnx")


def test_forecaster(board, forecaster, tmp_path):
    text = made("firmware", tmp_path)
    data, count = weather.load(), 7
    y = forecaster.predict(weather.windows(data.features)[-count:])
    degrees = data.persistence[-count:].astype(np.float32) + y[:, 0] * np.float32(data.scale)
    want = [
        f"{day} {forecast:9.1f} {truth:5.1f}   {bits:08x}"
        for day, forecast, truth, bits in zip(
            data.target_dates[-count:], degrees, data.truth[-count:],
            y.view(np.uint32).ravel().tolist(), strict=True,
        )
    ]  # fmt: skip
    assert re.findall(r"^2015-.*", text, re.M) == want
    assert "self-test       640 bytes" in text and "640 bytes here, 36 KB for silero-vad" in PAGE
    assert said(text, "digest") == f"{lstmc.digest(y):08x}"
    header = (tmp_path / "forecaster.h").read_text()
    golden = re.search(r"_GOLDEN_DIGEST 0x(\w+)u", header)[1]
    assert said(text, "selftest") == f"{golden},"
    assert f"the same bits on this computer ({lstmc.get_target()}): 7 forecasts" in text
    near(int(said(text, "instructions")), CHIPS["m4f"][0], "m4f")

    # Of the C library memcpy and memset; of RAM what the header says; the same figures on the page.
    needs("arm-none-eabi-nm")
    symbols = subprocess.run(
        ["arm-none-eabi-nm", "-u", tmp_path / "forecaster.o"],
        capture_output=True, text=True, check=True,
    ).stdout.split()[1::2]  # fmt: skip
    assert set(symbols) <= {"memcpy", "memset", "forecaster_weights"}
    _, initialised, zeroed = re.search(r"(\d+)\t +(\d+)\t +(\d+)\t.*\tforecaster.o", text).groups()
    arena = re.findall(r"_ARENA_BYTES (\d+)", header)[1]
    assert (initialised, zeroed) == ("0", arena)
    assert int(said(text, "stack")) < 700 and "below 700 bytes" in PAGE


#: {target: (machine, flags, code, data)}, as the example's page says.
BOARDS = {
    name: (machine, flags, int(code, 0), int(data, 0))
    for name, flags, machine, code, data in re.findall(
        r"^\| `(\w+)` \| `([^`]+)` \| ([\w-]+)[^|]* \| (\w+) \| (\w+) \|$",
        (EXAMPLES / "firmware/README.md").read_text(), re.M,
    )
}  # fmt: skip
#: {target: (instructions a step, those of a multiply-add)}, as the page says.
CHIPS = {
    name: (int(count.replace(",", "")), float(each))
    for name, count, each in re.findall(
        r"^\| `(\w+)` \| [^|]+ \| ([\d,]+) \| ([\d.]+) \|", PAGE, re.M
    )
}


def test_table_of_chips():
    assert set(CHIPS) == set(BOARDS) == {"m0", "m3", "m4f", "m7", "m33", "m55"}
    for name, (_, flags, _, _) in BOARDS.items():
        assert presets.find(name).flags == ("-mthumb", *flags.split())
    for count, each in CHIPS.values():
        per = count / 12050
        assert each == (round(per) if per > 10 else round(per, 1))


@pytest.mark.parametrize("name", BOARDS)
def test_other_chips(board, tmp_path, name):
    """The example's own settings, for another chip."""
    machine, cpu, code, data = BOARDS[name]
    memory = f"CODE={code:#x} CODE_SIZE=0x80000 DATA={data:#x} DATA_SIZE=0x80000"
    text = made(
        "firmware", tmp_path, TARGET=name, CPU=f"-mthumb {cpu}", MACHINE=machine, MEMORY=memory,
        FORECASTS=1,
    )  # fmt: skip
    assert "the same bits on this computer" in text
    near(int(said(text, "instructions")), CHIPS[name][0], name)


def test_a_converted_model_and_options_of_the_export(board, forecaster, tmp_path):
    """MODEL may be an .lstmc file; with other EXPORT, all is made again."""
    forecaster.save(tmp_path / "own.lstmc")
    model = tmp_path / "own.lstmc"
    text = made("firmware", tmp_path / "b", MODEL=model, EXPORT="", FORECASTS=1)
    assert "the same bits on this computer" in text and "selftest" in text
    done = make("firmware", tmp_path / "b", MODEL=model, EXPORT="--golden off", FORECASTS=1)
    assert done.returncode and "forecaster_selftest" in done.stderr
    assert "selftest" not in (tmp_path / "b/forecaster.h").read_text()


@pytest.mark.parametrize(
    "flags",
    ["-Os", "-O0", "-O3 -std=gnu17 -ffp-contract=fast", "-O2 -fshort-enums -funsigned-char"],
)
def test_flags_change_no_bit(board, tmp_path, flags):
    assert "the same bits" in made("firmware", tmp_path, OPTIMISE=flags, FORECASTS=1)


def test_an_export_for_another_chip(board, tmp_path):
    """Panels of 8, for Helium, on a Cortex-M4F."""
    assert "the same bits" in made("firmware", tmp_path, TARGET="m55", FORECASTS=1)


def test_what_goes_wrong_is_said(board, tmp_path):
    made("firmware", tmp_path, FORECASTS=1)
    done = make("firmware", tmp_path, FORECASTS=1, STACK=256)
    assert done.returncode and "fault: is the stack too small?" in done.stdout
    done = make("firmware", tmp_path, FORECASTS=1, QEMU="qemu-of-nowhere")
    assert done.returncode
    assert "no qemu-of-nowhere here; on Debian: apt-get install gcc-arm-none-eabi" in done.stderr
    done = make("firmware", tmp_path, FORECASTS=1, PYTHON="/bin/false")
    assert done.returncode and "/bin/false has no lstmc or no onnx" in done.stderr
    done = make("firmware", tmp_path, FORECASTS=0)
    assert done.returncode and "0 forecasts? It can be 1 to 365" in done.stderr

    # A flash that has lost a bit.
    made("firmware", tmp_path, FORECASTS=1)
    weights = tmp_path / "forecaster_weights.c"
    text = weights.read_text()
    number = re.search(r"0x1\.([0-9a-f])", text[len(text) // 2 :])
    at = len(text) // 2 + number.start(1)
    weights.write_text(text[:at] + f"{int(text[at], 16) ^ 8:x}" + text[at + 1 :])
    done = make("firmware", tmp_path, FORECASTS=1)
    assert done.returncode and ": WRONG" in done.stdout


def test_another_forecast_is_seen(forecaster, tmp_path):
    forecaster.save(tmp_path / "m.lstmc")
    y = forecaster.predict(weather.windows(weather.load().features)[-1:])
    word, digest = y.view(np.uint32).item(), lstmc.digest(y)
    for bits, crc, right in (
        (word, digest, True), (word ^ 1, digest, False), (word, digest ^ 1, False)
    ):  # fmt: skip
        (tmp_path / "said").write_text(f"2015-12-31 {bits:08x}\ndigest {crc:08x}\n")
        command = [sys.executable, "-P", EXAMPLES / "firmware/forecast.py", "compare", "1"]
        done = subprocess.run(
            [*command, tmp_path / "m.lstmc", tmp_path / "said"], capture_output=True, check=False
        )
        assert (done.returncode == 0) is right


# ------------------------------------------------------------------------------------ silero-vad


def silero():
    """The package's model, or the same of the shared folder."""
    try:
        return vad.find_model()
    except SystemExit:
        path = MODELS / "silero-vad/silero_vad.onnx"
    if not path.is_file():
        pytest.skip("no silero-vad here")
    return path


def test_vad(board, tmp_path):
    path = silero()
    text = made("vad-firmware", tmp_path, MODEL=path)
    model = lstmc.convert(path, constants={"sr": audio.RATE}, state="input@576=stateN:state")
    y = vad.by_lstmc(model, vad.frames_of(audio.read(audio.SPEECH)))
    raw = (tmp_path / "said.txt").read_text()
    found = [int(b, 16) for b in re.findall(r"^bits (\w{8})$", raw, re.M)]
    assert found == y.view(np.uint32).tolist() and len(found) == 312
    assert said(text, "digest") == f"{lstmc.digest(y):08x}"
    spans = [(float(a), float(b)) for a, b in re.findall(r"from +(\S+) s\n +to +([\d.]+)", text)]
    want = vad.spoken(y)
    np.testing.assert_allclose(spans, want[: len(spans)], atol=0.0051)
    assert len(spans) == len(want) - 1 == 5 and "to the end" in text

    # What README.md beside the example says of it.
    readme = (EXAMPLES / "vad/README.md").read_text()
    second = int(re.search(r"(\d+) a second of audio", text)[1])
    stated = int(re.search(r"([\d,]+) instructions for a second", readme)[1].replace(",", ""))
    near(second, stated, "silero-vad, a second of audio")
    for bytes_of in ("weights", "self-test", "arena"):
        said_here = re.search(rf"{bytes_of} +([\d,]+) bytes", text)[1]
        assert f"{said_here} bytes" in readme, bytes_of
    assert re.search(r"multiply-adds +([\d,]+) a call", text)[1] == "679,552"
    assert "679,552 multiply-adds" in readme


def test_vad_hears_no_half_a_frame(board, tmp_path):
    done = make("vad-firmware", tmp_path, MODEL=silero(), SECONDS="0.01")
    assert done.returncode and "are not one frame of 512 samples" in done.stderr


# --------------------------------------------------------------------------- docs/howto/embed.md


def pieces(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)


CONVERT, INFO, EXPORT, COMPILE, HERE, SENSOR = pieces("sh")
APP, ROOMS = pieces("c")
(PYTHON,) = pieces("python")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """The page's files, made by its commands."""
    folder = tmp_path_factory.mktemp("embed")
    (folder / "bin").mkdir()
    command = folder / "bin/lstmc"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m lstmc "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    shutil.copy(EXAMPLES / "weather/forecaster.onnx", folder)
    (folder / "app.c").write_text(APP)
    (folder / "rooms.c").write_text(ROOMS)
    for script in (CONVERT, EXPORT, SENSOR):
        shell(script, folder)
    return folder


def shell(script, folder):
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-e", "-c", script], cwd=folder, env={**os.environ, "PATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stderr
    return done.stdout


def test_info_has_the_table_of_chips(workspace):
    table = shell(INFO, workspace)
    assert re.search(r"^cortex-m4f +2 +49,004 ", table, re.M)


def test_files_are_those_of_the_page(workspace):
    named = set(re.findall(r"^\| `([\w./]+)`", PAGE, re.M))
    listed = {n for n in named if "forecaster" in n or "example" in n}
    made_here = {
        p.relative_to(workspace / "model").as_posix() for p in (workspace / "model").rglob("*")
    }
    assert len(listed) == 5 and listed <= made_here
    assert {"CMakeLists.txt", "library.json"} <= made_here


def test_compiled_for_the_chip(workspace):
    needs("arm-none-eabi-gcc", "arm-none-eabi-size")
    assert re.search(r"\bforecaster_weights\.o$", shell(COMPILE, workspace), re.M)
    assert " ".join(presets.find("m4f").flags) in COMPILE


def test_example_for_the_computer(workspace):
    digest = re.search(r"_GOLDEN_DIGEST 0x(\w+)u", (workspace / "model/forecaster.h").read_text())[
        1
    ]
    assert shell(HERE, workspace).startswith(f"selftest {digest}, {digest} expected\n0: ")


MAIN = """
#include <stdio.h>
#include <string.h>
int main(void) {{
    float x[{size}], y;
    unsigned bits;
    {begin}
    for (int step = 0; fread(x, sizeof x, 1, stdin) == 1; step++) {{
        y = {call};
        memcpy(&bits, &y, sizeof bits);
        printf("%08x\\n", bits);
    }}
    return 0;
}}
"""


def c_bits(folder, name, sources, begin, call, x):
    """What a program of the page's functions gives for x [steps, features]."""
    declared = "int app_begin(void); float app_step(const float *);\n"
    declared += "void rooms_begin(void); float room_step(int, const float *);\n"
    text = declared + MAIN.format(size=x.shape[1], begin=begin, call=call)
    (folder / f"{name}_main.c").write_text(text)
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
    files = [f"{name}_main.c", *sources]
    shell(" ".join([*c_compiler(), *strict, *files, "-o", name]), folder)
    done = subprocess.run([folder / name], input=x.tobytes(), capture_output=True, check=True)
    return [int(line, 16) for line in done.stdout.split()]


def test_app_and_its_counterpart(workspace, forecaster):
    days = weather.load().features[:150]
    names = {"lstmc": lstmc, "x": days[:, None]}
    code = PYTHON.replace("forecaster.lstmc", str(workspace / "forecaster.lstmc"))
    exec(code, names)  # the page's own lines
    want = np.array(names["y"], np.float32).view(np.uint32).tolist()
    got = c_bits(
        workspace, "app", ["-Imodel", "app.c", "model/*.c"], "if (app_begin()) return 1;",
        "app_step(x)", days,
    )  # fmt: skip
    assert got == want and len(set(got)) == len(got)


def test_rooms_are_apart(workspace, forecaster):
    days = weather.load().features[:120]
    streams = [forecaster.stream() for _ in range(4)]
    want = np.array(
        [streams[t % 4].step(day[None])[0, 0] for t, day in enumerate(days)], np.float32
    )
    got = c_bits(
        workspace, "rooms", ["-Isensor", "rooms.c", "sensor/*.c"], "rooms_begin();",
        "room_step(step % 4, x)", days,
    )  # fmt: skip
    assert got == want.view(np.uint32).tolist()


def test_flags_that_are_refused(workspace):
    (table,) = re.findall(r"^\| flag \| why \|\n(.*?)\n\n", PAGE, re.M | re.S)
    flags = re.findall(r"`(-[\w=-]+)`", "\n".join(row.split("|")[1] for row in table.split("\n")))
    assert len(flags) == 5
    compiler = [*c_compiler(), "-std=c99", "-Imodel", "-fsyntax-only", "model/forecaster.c"]
    for flag in flags:
        if flag == "-mfpmath=387" and not re.search(r"x86|AMD64", os.uname().machine):
            continue
        done = subprocess.run(
            [*compiler, flag], cwd=workspace, capture_output=True, text=True, check=False
        )
        assert done.returncode and "#error" in done.stderr and "lstmc:" in done.stderr, flag


def test_header_in_cpp(workspace):
    needs("c++")
    shell("c++ -std=c++17 -Wall -Wextra -Werror -Imodel -x c++ -c app.c -o app_cpp.o", workspace)


def test_links_lead_somewhere():
    for path in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (ROOT / "docs/howto" / path).exists(), path
    readme = (EXAMPLES / "firmware/README.md").read_text()
    for path in re.findall(r"\]\(([^)#]+)", readme):
        assert (EXAMPLES / "firmware" / path).exists(), path
    assert set(re.findall(r"`([\w.]+\.(?:c|h|ld|mk|py))`", readme)) >= {"board.c", "link.ld"}
