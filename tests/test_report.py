"""Reports: what is on the page, that it is sound and self-contained, and how a browser shows it."""

from __future__ import annotations

import base64
import html
import io
import itertools
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from cases import LARGEST_SEED, settings
from helpers import random_graph
from hypothesis import strategies as st

import lstmc
from lstmc import cli, palette
from lstmc import graph as g
from lstmc.inspect import trace
from lstmc.model import from_graph
from lstmc.report import page, pictures
from lstmc.report.layout import BOX, lay_out

ROOT = Path(__file__).parents[1]
WEATHER = ROOT / "examples" / "weather"
SHARED = ROOT.parent / "shared" / "models"
SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '<script>alert("1")</script>'


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def forecaster():
    return lstmc.convert(WEATHER / "forecaster.onnx")


def long_model(count=70) -> lstmc.Model:
    """A chain with skips, two RNNs and hostile names."""
    rng, layers, before = np.random.default_rng(0), [], "x"
    for i in range(count):
        name = f"block/{i}/" + (HOSTILE if i == 3 else "]]>&amp; 'co' \x1b[2J\udc80\0"[: i % 20])
        made = f"v{i}"
        if i in (5, 30):
            layers.append(g.RNN(name=name, inputs=(before,), outputs=(made, None),
                                weight_ih=rng.normal(0, 0.4, (6, 6)),
                                weight_hh=rng.normal(0, 0.4, (6, 6))))  # fmt: skip
        elif i > 20 and i % 9 == 0:
            layers.append(g.Combine(name=name, inputs=(before, f"v{i - 15}"), outputs=(made,),
                                    op="add"))  # fmt: skip
        else:
            layers.append(g.Affine(name=name, inputs=(before,), outputs=(made,),
                                   scale=np.full(6, 0.9), activation=g.TANH))  # fmt: skip
        before = made
    ends = [g.Value(n, (g.BATCH, g.TIME, 6)) for n in ("x", before)]
    origin = {"source": HOSTILE, "</dl>": "&\x07"}
    return from_graph(g.Graph(ends[:1], ends[1:], layers, origin))


def full_page(model, name="model", **options) -> str:
    return page(model, name, trace=trace(model), sample="row 0 of the golden sample", **options)


# ------------------------------------------------------------------------------------- soundness


class Sound(HTMLParser):
    """What browsers read: every tag closed in order, nothing from elsewhere, no script."""

    VOID = ("meta", "br", "hr", "img", "input", "link")

    def __init__(self, words: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.ids, self.links, self.images = [], [], [], [], []
        self.feed(words)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self.check(tag, dict(attributes))

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.check(tag, dict(attributes))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def check(self, tag, attributes):
        assert not [a for a in attributes if a.startswith("on")], "an event handler"
        for name in ("src", "action", "data", "srcset", "poster", "background", "ping"):
            assert name not in attributes
        if "id" in attributes:
            self.ids.append(attributes["id"])
        for name in ("href", "xlink:href"):
            if name in attributes:
                (self.images if tag == "image" else self.links).append(attributes[name])


def assert_sound(words: str) -> Sound:
    tree = ET.fromstring(words.partition("\n")[2])
    assert words.startswith("<!DOCTYPE html>\n")
    found = Sound(words)
    assert not {"script", "iframe", "object", "embed", "link", "base", "form"} & set(found.tags)
    assert len(found.ids) == len(set(found.ids)), "an id twice"
    assert all(a.startswith("#") and a[1:] in found.ids for a in found.links)
    for a in found.images:
        assert a.startswith("data:image/png;base64,")
        assert base64.b64decode(a.partition(",")[2], validate=True).startswith(b"\x89PNG")
    for style in (tree.find("head/style").text, *re.findall('style="([^"]*)"', words)):
        assert "@import" not in style and "url(" not in style and "\\" not in style
    policy = tree.find("head/meta[@http-equiv]").get("content")
    assert policy.startswith("default-src 'none'") and "script" not in policy
    for svg in tree.iter("svg"):
        if svg.get("aria-hidden"):
            continue
        assert svg.get("role") == "img" and svg.get("aria-label") == svg.find("title").text
    for cell in tree.iter("th"):
        assert cell.get("scope") in ("row", "col")
    return found


def all_text(words: str) -> str:
    tree = ET.fromstring(words.partition("\n")[2])
    return "\n".join(t for e in tree.iter() for t in (e.text, e.tail) if t)


def test_everything_is_on_the_page(forecaster):
    checks = [
        {"name": "golden sample", "ok": True, "text": "y 01953f46"},
        {"name": "oracle", "ok": False, "text": "largest relative error 0.5"},
        {"name": "framework", "ok": None, "text": "not installed"},
    ]
    words = full_page(forecaster, "net & co", checks=checks, against="net.onnx")
    assert_sound(words)
    text = all_text(words)
    info = lstmc.info.facts(forecaster)
    for word in ("net & co", "12,251", "12,050", "56,288", f"{info['arena_bytes']:,}", "01953f46",
                 info["sha256"], "LSTM", "Dense", "dense_2", "opset", "ok", "FAILED", "not checked",
                 "1 of 2", "largest relative error 0.5", "Compared with the source net.onnx",
                 "forget gate", "row 0 of the golden sample", "input x", "output y"):  # fmt: skip
        assert word in text, word
    for layer in info["layers"]:
        for key in ("weights", "record", "state"):
            n = layer[f"{key}_bytes"]
            assert not n or f"{n:,}" in text or lstmc.info.short(n) in text
    arena = [f"{k} {info['arena'][f'{k}_bytes']:,}" for k in lstmc.info.ARENA]
    assert all(a in text for a in arena)
    plain = page(forecaster, "net")
    assert_sound(plain)
    assert "no golden sample" in all_text(plain) and "give it with --against" in all_text(plain)
    assert "checks passed" not in all_text(plain) and "data:image" not in plain


def test_errors_of_layers(forecaster):
    """A finding may have them (lstmc.verify, by layers)."""
    rows = [
        {"layer": "lstm", "type": "LSTM", "oracle": 1.5e-7, "source": None, "framework": 2e-7},
        {"layer": HOSTILE, "type": "Dense", "oracle": float("inf"), "source": None,
         "framework": None},
        {"layer": "nan", "type": "Dense", "oracle": float("nan"), "source": None, "framework": 0.0},
    ]  # fmt: skip
    words = full_page(forecaster, checks=[{"name": "l", "ok": True, "text": "t", "layers": rows}])
    assert_sound(words)
    table = next(t for t in ET.fromstring(words.partition("\n")[2]).iter("table")
                 if "framework" in "".join(t.itertext()))  # fmt: skip
    cells = [["".join(c.itertext()) for c in row] for row in table.iter("tr")]
    assert cells == [
        ["layer", "type", "oracle", "framework"], ["lstm", "LSTM", "1.5e-07", "2e-07"],
        [HOSTILE, "Dense", "inf", "–"], ["nan", "Dense", "nan", "0"],
    ]  # fmt: skip


def test_hostile_names_stay_names():
    model = long_model()
    checks = [{"name": HOSTILE, "ok": True, "text": "<img src=x onerror=alert(1)>"}]
    words = full_page(model, HOSTILE + "\0\x1b", checks=checks, against="</p>&")
    found = assert_sound(words)
    assert "script" not in found.tags and "img" not in found.tags
    text = all_text(words)
    assert text.count("block/3/" + HOSTILE) >= 2 and "<img src=x onerror" in text
    for layer in model.graph.layers:
        assert lstmc.terminal.printable(layer.name) in text
    assert not re.search("[\0-\x08\x0b-\x1f\x7f]", words) and words.encode()


@settings(40)
@hypothesis.given(seed=st.integers(0, LARGEST_SEED))
def test_of_any_graph(seed):
    model = from_graph(random_graph(seed, bounded=True, sequential=seed % 4 != 0))
    words = full_page(model)
    found = assert_sound(words)
    boxes = words.count('class="box"')
    graph = model.graph
    assert boxes == len(graph.layers) + len(graph.inputs) + len(graph.outputs)
    text = all_text(words)
    assert all(layer.name in text for layer in graph.layers)
    recurrent = [x for x in graph.layers if isinstance(x, g.Recurrent)]
    maps = sum({g.LSTM: 6, g.GRU: 4, g.RNN: 1}[type(x)] for x in recurrent)
    assert len(found.images) >= maps


# ------------------------------------------------------------------------------------ the pieces


def test_png():
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(1).integers(0, 256, (7, 13, 3)).astype(np.uint8)
    got = image.open(io.BytesIO(pictures.png(pixels)))
    assert got.format == "PNG" and got.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(got), pixels)


def test_maps_show_the_numbers(forecaster):
    """Each pixel is a unit at a step, units upwards, in the colour of its value."""
    image = pytest.importorskip("PIL.Image")
    found = trace(forecaster)
    layer = found.recurrent["lstm"]
    svg = ET.fromstring(pictures.of_layer(layer, 1))
    shown = [np.asarray(image.open(io.BytesIO(base64.b64decode(e.get("href").partition(",")[2]))))
             for e in svg.iter("image")]  # fmt: skip
    ranges = palette.scales(layer)
    want = layer.pictures()
    assert len(shown) == 6 and shown[0].shape == (50, 16, 3)
    for pixels, name in zip(shown, ("i", "f", "o", "g", "c", "h"), strict=True):
        colours = palette.SEQUENTIAL if name in "ifo" else palette.DIVERGING
        low, high = ranges[name]
        for unit, step in ((0, 0), (49, 15), (20, 7)):
            value = want[name][1, step, unit]
            expected = palette.paint(np.array([value]), low, high, colours)[0]
            assert pixels[49 - unit, step].tolist() == expected.tolist()
    label = svg.get("aria-label")
    assert "LSTM 'lstm', 16 steps" in label and f"mean {want['f'][1].mean():.3g}" in label


def test_lines_lie_where_the_values_are():
    value = np.array([[0.0, -1], [1, 0], [3, 1]])
    svg = ET.fromstring(pictures.of_value(value, "input x"))
    lines = [[tuple(map(float, p.split(","))) for p in e.get("points").split()]
             for e in svg.iter("polyline")]  # fmt: skip
    (x0, y0), (x1, y1), (x2, y2) = lines[0]
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11) and y0 - y1 == pytest.approx(
        (y1 - y2) / 2, abs=0.2
    )
    assert lines[1][0][1] == 6 + pictures.TRACE, "the smallest value is at the bottom"
    assert y2 == 6, "and the largest at the top"
    assert "numbers" in pictures.of_value(np.arange(8.0), "y") and "image" in pictures.of_value(
        np.arange(9.0), "y"
    )
    level = [5.0, -3e38, 0.0, 1e-45]
    for odd in (np.full((3, 2), np.nan), np.full((2, 20), np.inf), np.float32([[3e38], [-3e38]]),
                *(np.full((2, 1), x, np.float32) for x in level)):  # fmt: skip
        svg = ET.fromstring(pictures.of_value(odd, "x"))
        for line in svg.iter("polyline"):
            assert "nan" not in line.get("points") and "inf" not in line.get("points")
            if np.ptp(np.float64(odd)) == 0:
                assert all(p.endswith(",61.0") for p in line.get("points").split())


def laid_out(nodes, edges):
    """Boxes don't overlap, edges lead from the bottom of a box to the top of a lower or later one,
    all of it within the picture, and every edge is drawn."""
    found = lay_out(nodes, edges)
    assert set(found.boxes) == set(nodes)
    places = np.array([found.boxes[n] for n in nodes])
    apart = np.abs(places[:, None] - places[None])
    overlap = (apart[..., 0] < BOX[0] + 2) & (apart[..., 1] < BOX[1] + 2)
    assert np.array_equal(overlap, np.eye(len(nodes), dtype=bool))
    low, high = places - np.array(BOX) / 2, places + np.array(BOX) / 2
    points = np.array([p for _, _, path in found.paths for p in path]).reshape(-1, 2)
    for a in (low, high, points):
        assert a.size == 0 or (a.min() > 0 and (a.max(axis=0) < (found.width, found.height)).all())
    pieces = {}
    for source, target, path in found.paths:
        pieces.setdefault(source, []).append((target, path))
    for a, b in set(edges):
        x, y = found.boxes[a]
        reached, seen = {(round(x, 3), round(y + BOX[1] / 2, 3))}, set()
        while reached - seen:
            seen |= reached
            for _, path in pieces[a]:
                ends = [tuple(np.round(p, 3)) for p in (path[0], path[-1])]
                if ends[0] in reached:
                    reached.add(ends[1])
        x, y = found.boxes[b]
        assert (round(x, 3), round(y - BOX[1] / 2, 3)) in reached, (a, b)
        assert any(target == b for target, _ in pieces[a])
    return found


@settings(150)
@hypothesis.given(data=st.data())
def test_layout_of_any_graph(data):
    count = data.draw(st.integers(1, 90))
    rng = np.random.default_rng(data.draw(st.integers(0, LARGEST_SEED)))
    near = data.draw(st.integers(1, 30))
    nodes = [f"n{i}" for i in range(count)]
    edges = []
    for i in range(1, count):
        for _ in range(rng.integers(0, 4)):
            edges.append((nodes[max(0, i - rng.integers(1, near + 1))], nodes[i]))
    laid_out(nodes, edges)


def test_a_long_graph_goes_on_in_the_next_column():
    nodes = [f"n{i}" for i in range(100)]
    chain = list(itertools.pairwise(nodes))
    found = laid_out(nodes, chain)
    columns = sorted({round(x) for x, _ in found.boxes.values()})
    assert 5 <= len(columns) <= 8 and found.height < 1500 and found.width < 1473
    straight = [p for _, _, p in found.paths if len(p) == 2]
    assert all(p[0][0] == pytest.approx(p[1][0]) for p in straight), "a chain is a straight line"

    skips = [(nodes[i - 15], nodes[i]) for i in range(20, 100, 9)]
    found = laid_out(nodes, chain + skips)
    turned = [p for _, _, p in found.paths if len(p) > 2]
    assert len(turned) > 5, "several edges at a time lead to the next column"
    upright = [abs(p[0][0] - p[1][0]) < 1e-6 for _, _, p in found.paths if len(p) == 2]
    assert np.mean(upright) > 0.7, "chains and lanes are straight but for where they meet"


# ----------------------------------------------------------------------------------- the command


def run(capsys, *argv):
    status = cli.main(["report", *map(str, argv)])
    out, err = capsys.readouterr()
    assert "Traceback" not in err and err.count("\n") == (1 if status else 0), err
    return status, out, err


def test_report(capsys, forecaster):
    forecaster.save("f.lstmc")
    np.save("x.npy", np.random.default_rng(1).standard_normal((4, 30, 10), dtype=np.float32))
    source = WEATHER / "forecaster.onnx"
    status, out, _ = run(capsys, "f.lstmc", "--against", source, "--input", "x.npy", "--row", 2)
    assert status == 0 and out.startswith("f.html: ")
    words = Path("f.html").read_text()
    assert_sound(words)
    text = all_text(words)
    for word in ("bit-equal to 'forecaster.onnx' converted again", "lstmc.reference in float64",
                 "row 2 of x.npy", "Compared with the source forecaster.onnx"):  # fmt: skip
        assert word in text
    status, out, _ = run(capsys, "f.lstmc", "-o", "g.html", "--json")
    facts = json.loads(out)
    assert status == 0 and facts["bytes"] == Path("g.html").stat().st_size
    assert [c["name"] for c in facts["checks"]] == ["golden sample"]
    assert run(capsys, "f.lstmc", "-o", "h.html")[0] == 0
    assert Path("g.html").read_bytes() == Path("h.html").read_bytes()


def test_a_failed_check_is_on_the_page_and_in_the_status(capsys, forecaster):
    graph = lstmc.convert(WEATHER / "forecaster.onnx").graph
    graph.layers[0].bias = graph.layers[0].bias + np.float32(0.5)
    from_graph(graph).save("other.lstmc")
    status, out, err = run(capsys, "other.lstmc", "--against", WEATHER / "forecaster.onnx")
    assert status == 1 and "failed: weights, oracle" in err and "other.html: " in out
    assert "FAILED" in all_text(Path("other.html").read_text())


def test_a_file_without_a_golden_sample(capsys, forecaster):
    Path("bare.lstmc").write_bytes(lstmc.format.dumps(forecaster.graph))
    assert run(capsys, "bare.lstmc")[0] == 0
    assert "no golden sample" in all_text(Path("bare.html").read_text())


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["f.lstmc", "-o", "a.txt"], "must end with .html or .htm"),
        (["f.lstmc", "--against", "none.onnx"], "No such file"),
        (["f.lstmc", "--against", "s.html", "-o", "s.html"], "'s.html' is the source itself"),
        (["f.lstmc", "--arch", "lstm"], "describe the source: give --against SRC"),
        (["f.lstmc", "--row", "9"], "there is no 9"),
        (["f.lstmc", "--input", "x.npz", "--row", "0", "-o", "none/a.html"], "No such file"),
        (["none.lstmc"], "No such file"),
    ],
)
def test_bad_use(capsys, forecaster, argv, message):
    forecaster.save("f.lstmc")
    Path("s.html").write_text("")
    before = sorted(Path().iterdir())
    status, _, err = run(capsys, *argv)
    assert status == 2 and message in err and sorted(Path().iterdir()) == before


def test_needs_no_matplotlib(forecaster):
    forecaster.save("f.lstmc")
    code = (
        "import sys; sys.modules['matplotlib'] = None; import lstmc.cli; "
        "sys.exit(lstmc.cli.main(['report', 'f.lstmc']))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert "data:image/png" in Path("f.html").read_text()


# ----------------------------------------------------------------------------------- the browser


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium here")
    profile = tmp_path_factory.mktemp("chromium")

    def call(*options, width=1200, height=1600, dark=False):
        """What the browser prints: (stdout, lines of the page's console)."""
        scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
        done = subprocess.run(
            [program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--disable-background-networking", "--no-first-run", "--enable-logging=stderr",
             f"--user-data-dir={profile}", f"--window-size={width},{height}", *scheme, *options],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        return done.stdout, [x for x in done.stderr.splitlines() if ":CONSOLE" in x]

    return call


# Runs in a copy of the page that has no policy against scripts.
MEASURE = """
const wide = document.documentElement;
const found = {scroll: wide.scrollWidth, inner: window.innerWidth, height: wide.scrollHeight,
  fetched: performance.getEntriesByType('resource').map(r => r.name)
    .filter(n => !n.startsWith('data:')),
  images: document.querySelectorAll('image').length, long: [], out: [], low: []};
for (const box of document.querySelectorAll('svg.graph g.plain, svg.graph g.recurrent,' +
    'svg.graph g.weighted, svg.graph g.pill')) {
  const width = box.querySelector('rect').getBBox().width;
  const words = [...box.querySelectorAll('text')].map(t => t.getBBox());
  if (words.some(b => b.x < 0 || b.x + b.width > width)) found.long.push(box.textContent);
  if (words[0].x + words[0].width > words[1].x) found.long.push(box.textContent);
}
for (const svg of document.querySelectorAll('svg[role=img]')) {
  const view = svg.viewBox.baseVal, all = svg.getBBox();
  if (all.x < -1 || all.y < -1 || all.x + all.width > view.width + 1 ||
      all.y + all.height > view.height + 1) found.out.push(svg.getAttribute('aria-label'));
}
for (const e of document.querySelectorAll('main, main *')) {
  if (e.closest('.scroll') || e.closest('svg')) continue;
  if (e.getBoundingClientRect().right > wide.clientWidth + 1) found.out.push(e.tagName);
}
// Contrast of WCAG 2.1, of text against the page or the panel behind it.
const light = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(x => x / 255)
    .map(x => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; };
const behind = e => { for (; e; e = e.parentElement) {
    const c = getComputedStyle(e).backgroundColor;
    if (!c.endsWith(', 0)')) return c; } return 'rgb(255,255,255)'; };
for (const e of document.querySelectorAll('main *')) {
  if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
  if (['title', 'STYLE'].includes(e.tagName)) continue;
  const svg = e.closest('svg'), box = svg && e.parentElement.querySelector(':scope > .box');
  const paper = box ? getComputedStyle(box).fill : behind(svg ? svg.parentElement : e);
  const style = getComputedStyle(e), a = light(svg ? style.fill : style.color), b = light(paper);
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) found.low.push([e.tagName, e.textContent.slice(0, 30), ratio]);
}
document.title = JSON.stringify(found);
"""


def measured(chromium, words: str, **options) -> dict:
    copy = re.sub(r"<meta http-equiv[^>]*>", "", words)
    assert copy != words
    Path("measured.html").write_text(copy.replace("</body>", f"<script>{MEASURE}</script></body>"))
    dom, console = chromium("--dump-dom", Path("measured.html").absolute().as_uri(), **options)
    assert console == []
    return json.loads(html.unescape(re.search("<title>(.*?)</title>", dom, re.S)[1]))


def models(forecaster):
    yield "forecaster", forecaster
    yield "long", long_model()
    if (SHARED / "dtln" / "model_2.onnx").exists():
        yield "dtln", lstmc.convert(SHARED / "dtln" / "model_2.onnx")


def test_in_a_browser(chromium, forecaster):
    """Nothing overflows or leaves its picture, at any width, light and dark; text has contrast;
    nothing is fetched."""
    for name, model in models(forecaster):
        checks = [{"name": "c", "ok": x, "text": "t"} for x in (True, False, None)]
        words = full_page(model, f"{name}." + "long_name_" * 30, checks=checks)
        for width, dark in ((1200, False), (800, True), (500, False)):
            found = measured(chromium, words, width=width, dark=dark)
            assert found["inner"] == width and found["scroll"] <= width, (name, found)
            assert found["long"] == found["out"] == found["fetched"] == found["low"] == [], found
            assert found["height"] > 1200
            assert found["images"] == words.count("<image")


def test_the_checks_in_a_browser_can_fail(chromium, forecaster):
    words = full_page(forecaster)
    wide = words.replace("<main>", '<main><p style="width: 3000px; color: #bbb">x</p>')
    found = measured(chromium, wide)
    assert found["scroll"] > 3000 and "P" in found["out"] and found["low"][0][0] == "P"
    found = measured(chromium, words.replace(">dense_2<", ">" + "dense_2" * 9 + "<"))
    assert len(found["long"]) == 1
    Path("bad.html").write_text(words.replace("</body>", "<script>x.y</script></body>"))
    _, console = chromium("--dump-dom", Path("bad.html").absolute().as_uri())
    assert len(console) == 1 and "Content Security Policy" in console[0], "the policy holds"


def test_a_screenshot(chromium, forecaster):
    """Light and dark: the page's colours, its boxes, its heat maps; and an empty console."""
    image = pytest.importorskip("PIL.Image")
    Path("page.html").write_text(full_page(forecaster))
    themes = {False: ("#ffffff", "#dcecf3", "#f6e7da"), True: ("#14161a", "#17394a", "#45301f")}
    for dark, colours in themes.items():
        shot = Path(f"shot{dark}.png").absolute()
        url = Path("page.html").absolute().as_uri()
        _, console = chromium(f"--screenshot={shot}", url, height=2600, dark=dark)
        assert console == []
        pixels = np.asarray(image.open(shot).convert("RGB")).astype(int)
        assert pixels.shape == (2600, 1200, 3)
        paper, recurrent, weighted = (
            np.abs(pixels - palette.channels(c)).max(axis=-1) <= 1 for c in colours
        )
        assert 0.4 < paper.mean() < 0.97, "neither blank nor covered"
        for box in (recurrent, weighted):
            ys, xs = np.nonzero(box)
            assert 3000 < box.sum() < 9000 and np.ptp(ys) < BOX[1] and np.ptp(xs) < BOX[0]
            assert xs.mean() == pytest.approx(600, abs=60), "in the middle of the page"
        assert np.nonzero(recurrent)[0].mean() < np.nonzero(weighted)[0].mean(), "LSTM above Dense"
        # The forget gate's map: dark, and wider than anything else of its colours.
        anchors = np.array([palette.channels(c) for c in palette.SEQUENTIAL[3:5]])
        teal = np.abs(pixels[..., None, :] - anchors.mean(axis=0)).max(axis=-1)[..., 0] < 40
        assert (teal.sum(axis=1) > 400).sum() > 100, "rows of pixels in the colours of gates"
