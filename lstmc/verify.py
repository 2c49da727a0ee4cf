"""Checks of a model: its golden sample, its source converted again, the float64 oracle, the source
in its own framework, outputs recorded elsewhere; where they differ, the layer at which that begins.
Each gives a finding, a dict with name, ok (None: could not be checked), text and figures."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import format, get_target, layerwise, set_target
from . import graph as g
from .arrays import Arrays, by_name
from .errors import ConversionError, Error
from .layerwise import Sample
from .recordings import as_step, recording
from .samples import enough_steps, random_inputs
from .terminal import line

if TYPE_CHECKING:
    from .frameworks import Framework
    from .model import Model

LIMIT = 1e-5  # of relative errors
NOTED_LIMIT = 0.1  # of errors that a note announces, such as those of 8-bit activations
NOISE, NOISE_LIMIT = 1e-6, 1e-3  # of weights; of the errors that it makes
BEGINNINGS = 3  # samples that failed, in which the first wrong layer is sought


def golden_digests(model: Model, names: list[str]) -> dict[str, dict[str, int]]:
    """Digests of the golden sample's outputs on each target."""
    golden, before = model.golden, get_target()
    assert golden is not None
    try:
        found = {}
        for name in names:
            set_target(name)
            found[name] = model._run_golden(golden)
        return found
    finally:
        set_target(before)


def wrong_digests(model: Model, names: list[str]) -> str:
    """What differs from the digests stored in the model, or an empty string."""
    assert model.golden is not None
    return ", ".join(
        f"'{output}' is {value:08x} on {target}, {model.golden.digests[output]:08x} in the file"
        for target, digests in golden_digests(model, names).items()
        for output, value in digests.items()
        if value != model.golden.digests[output]
    )


def check_golden(model: Model, names: list[str]) -> dict[str, Any]:
    if model.golden is None:
        return finding("golden sample", None, "the file has none")
    wrong = wrong_digests(model, names)
    text = wrong or f"{listed(model.golden.digests)} on {', '.join(names)}"
    return finding("golden sample", not wrong, text, digests=in_hex(model.golden.digests))


def check(
    model: Model,
    against: Path | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    given: list[Sample] | None = None,
    recorded: Path | None = None,
    layers: bool = False,
    limit: float = LIMIT,
) -> list[dict[str, Any]]:
    """What was asked: against a source, on given inputs, against recorded outputs, by layers.

    Layers come last: if asked for, over all samples; else where a comparison failed.
    """
    return Checks(model, given or [], limit).all(against, options or {}, recorded, layers)


@dataclass
class Peer:
    """What the model is compared with, and its outputs for each sample, None where it did not run
    (``problem`` says why)."""

    name: str
    label: str
    outputs: list[Arrays | None] = field(default_factory=list)
    problem: str = ""


class Checks:
    """Comparisons of one model, and what its layers are compared with afterwards."""

    def __init__(self, model: Model, given: list[Sample], limit: float) -> None:
        self.model, self.given, self.limit = model, given, limit
        self.findings: list[dict[str, Any]] = []
        self.failing: list[Sample] = []
        self.samples: list[Sample] = []
        self.peers: dict[str, Any] = {}  # of layerwise.compare
        self.source = model.graph  # what the oracle runs
        self.noted = False  # the source computes otherwise, and the model says so

    def all(
        self, against: Path | None, options: Mapping[str, Any], recorded: Path | None, layers: bool
    ) -> list[dict[str, Any]]:
        if against:
            self.against(against, options)
        elif self.given or (layers and not recorded):
            self.samples = [*_random(self.model.graph), *self.given]
            oracle = self.run("oracle", *_oracle(self.model.graph))
            self.judge(oracle, oracle)
        if recorded:
            self.recorded(recorded)
        chosen = self.samples if layers else self.failing[:BEGINNINGS]
        if chosen:
            self.layers(chosen, layers)
        return self.findings

    def against(self, path: Path, options: Mapping[str, Any]) -> None:
        """The source converted again with these options, the oracle, and the framework."""
        from . import frameworks
        from .converters import convert as convert_graph
        from .model import from_graph

        graph = self.model.graph
        try:
            converted = convert_graph(path, **options)
        except ConversionError as e:
            if not frameworks.is_torchscript(path):
                raise
            self.findings.append(finding("weights", None, f"not read: {line(e)}"))
            source, origins = graph, None
        else:
            source, origins = from_graph(converted).graph, converted.origins
            difference = _difference(graph, source)
            text = difference or f"bit-equal to '{path.name}' converted again"
            self.findings.append(finding("weights", not difference, text))
            if graph.inputs != source.inputs:
                return  # nothing can be fed to both
            if difference:
                self.peers["source"] = source
        self.source, self.noted = source, "note" in source.provenance
        self.samples = [*_random(source), *self.given]
        oracle = self.run("oracle", *_oracle(source))
        framework = None
        try:
            found = _framework(path, source, options)
        except ImportError as e:
            text = f"not installed: {e.name or e}"
        except Exception as e:  # whatever a framework raises: it is not what is tested
            by = source.provenance.get("producer", "an unknown producer")
            text = f"did not load the source, written by {by}: {type(e).__name__}: {line(e)}"
        else:
            text = "a file of weights has no code to run: the oracle stands for it"
            if found is not None:
                framework = self.run("framework", found.label, found.run)
                self.peers.update(framework=found, origins=origins)
        self.judge(oracle, oracle)
        if framework is None:
            self.findings.append(finding("framework", None, text))
        else:
            self.judge(framework, oracle)

    def run(self, name: str, label: str, peer: Callable[[Arrays], Arrays]) -> Peer:
        """What a peer gives for the samples."""
        found = Peer(name, label)
        for sample in self.samples:
            want = None
            try:
                want = peer(sample.inputs)
            except Error:
                raise
            except Exception as e:  # a framework's: a graph of fixed batch size, say
                found.problem = f"{sample.where}: {line(e)}"
            found.outputs.append(want)
        return found

    def judge(self, peer: Peer, oracle: Peer) -> None:
        """The largest relative error of each output against a peer's, over the samples.

        A net may be so sensitive that float32 itself is beyond the limit: what changes if each of
        its weights does by one in a million, as a chain of some hundred roundings would have it,
        passes, unless a smaller limit is asked for.
        """
        got = [by_name(self.model, self.model.predict(s.inputs)) for s in self.samples]
        ran = [i for i, want in enumerate(peer.outputs) if want is not None]
        if not ran and peer.problem:
            text = f"{peer.label} did not run, {peer.problem}"
            self.findings.append(finding(peer.name, None, text))
            return
        count = f"{len(ran)} inputs, {peer.label}"
        if peer.problem:
            count = f"{len(ran)} of {len(got)} inputs, {peer.label} did not run "
            count += peer.problem[:200]
        errors = _relative([(got[i], peer.outputs[i]) for i in ran])
        allowed = dict.fromkeys(self.model.outputs, self.limit)
        if max(_largest(errors).values(), default=0.0) > self.limit >= LIMIT:
            for name, e in self.sensitivity(oracle, ran).items():
                allowed[name] = max(self.limit, min(e, NOISE_LIMIT))
        refused = len(got) - len(ran)
        samples = [self.samples[i] for i in ran]
        self.found(peer.name, samples, errors, allowed, count, inputs=len(ran), refused=refused)

    def sensitivity(self, oracle: Peer, which: list[int]) -> dict[str, float]:
        """What changes in the oracle's outputs if each weight changes a little."""
        from . import reference

        rng = np.random.default_rng(2)
        graph = copy.deepcopy(self.source)
        for layer in graph.layers:
            for name, _, array in layer.tensors():
                if array is not None:
                    off = NOISE * rng.standard_normal(array.shape)
                    setattr(layer, name, array * (1 + off))
        changed = ((reference.run(graph, self.samples[i].inputs), oracle.outputs[i]) for i in which)
        return _largest(_relative(list(changed)))

    def found(
        self,
        name: str,
        samples: list[Sample],
        errors: list[dict[str, float]],
        allowed: Mapping[str, float],
        text: str,
        **facts: Any,
    ) -> None:
        """A finding from the errors of each sample; those that failed are kept."""
        for sample, each in zip(samples, errors, strict=True):
            wrong = any(e > allowed.get(n, 0.0) for n, e in each.items())
            if wrong and not any(s is sample for s in self.failing):
                self.failing.append(sample)
        largest = {**dict.fromkeys(self.model.outputs, 0.0), **_largest(errors)}
        error = max(largest.values())
        ok: bool | None = all(e <= allowed.get(n, 0.0) for n, e in largest.items())
        listed = ", ".join(f"{n} {e:.2g}" for n, e in largest.items())
        shown = f"{error:.2g}" if len(largest) == 1 else listed
        note = "; float32 itself does no better here" if ok and error > self.limit else ""
        if not ok and name == "framework" and self.noted and error <= NOTED_LIMIT:
            ok, note = None, "; the model's note says why it is not the source to the letter"
            self.failing = [s for s in self.failing if not any(s is t for t in samples)]
        text = f"largest relative error {shown} (limit {self.limit:g}{note}), {text}"
        facts = {"error": error, "errors": largest, "limit": self.limit, **facts}
        self.findings.append(finding(name, ok, text, **facts))

    def recorded(self, path: Path) -> None:
        """Outputs recorded elsewhere."""
        known = recording(path, self.model)
        values = {v.name: v for v in self.model.graph.inputs}
        samples = [
            replace(s, inputs={n: as_step(values[n], a) for n, a in s.inputs.items()})
            for s, _ in known.calls
        ]
        both = zip(known.outputs(self.model), known.calls, strict=True)
        errors = _relative([(got, want) for got, (_, want) in both])
        self.samples += samples  # for their layers: each by itself, from where a model starts
        n = len(samples)
        text = f"{n} call{'s' * (n > 1)}"
        if known.states:
            text += f" of one stream, which keeps {', '.join(known.states)}"
        self.found("recorded", samples, errors, dict.fromkeys(errors[0], self.limit), text)

    def layers(self, samples: list[Sample], whole: bool) -> None:
        found = layerwise.compare(self.model, samples, self.limit, **self.peers)
        begins = found.begins
        ok = None if begins and not self.failing else not (begins or found.overlap)
        facts: dict[str, Any] = {"limit": self.limit, "layers": found.rows, "begins": None}
        if begins:
            facts["begins"] = {"layer": found.rows[begins[1]]["layer"], "against": begins[0]}
        table = found.table(whole)
        text = found.text(agree=ok is None)
        self.findings.append(finding("layers", ok, text, **facts, table=table))


def _framework(path: Path, graph: g.Graph, options: Mapping[str, Any]) -> Framework | None:
    """The source in its framework; where states are bound, called again and again."""
    from . import frameworks

    if "arch" in options:
        return None
    if "state" not in options:
        return frameworks.of_source(path, graph, options)
    from .calls import Calls
    from .converters import convert as convert_graph
    from .converters.state import state_pairs

    rest = {name: value for name, value in options.items() if name != "state"}
    source = convert_graph(path, **rest)
    framework = frameworks.of_source(path, source, rest)
    if framework is None:
        return None
    return Calls(framework, source, graph, state_pairs(source, options["state"]))


def _difference(ours: g.Graph, theirs: g.Graph) -> str:
    """The first difference between two graphs, provenance left out; an empty string if none."""
    for what in ("inputs", "outputs", "bindings"):
        a, b = getattr(ours, what), getattr(theirs, what)
        if a != b:
            return f"{what} are {a}, the source has {b}"
    kinds = [[f"{x.name}: {type(x).__name__}" for x in graph.layers] for graph in (ours, theirs)]
    if kinds[0] != kinds[1]:
        i = next(i for i, (a, b) in enumerate(zip_longest(*kinds)) if a != b)
        first, second = (f"'{k[i]}'" if i < len(k) else "none" for k in kinds)
        text = f"layer {i + 1} is {first}, in the source {second}"
        return f"{text}; the file has {len(kinds[0])} layers, the source {len(kinds[1])}"
    for a, b in zip(ours.layers, theirs.layers, strict=True):
        if (a.inputs, a.outputs) != (b.inputs, b.outputs):
            return f"layer '{a.name}' is connected otherwise than in the source"
        for (name, _, x), (_, _, y) in zip(a.tensors(), b.tensors(), strict=True):
            if x is None or y is None:
                if x is not y:
                    return f"layer '{a.name}': one of file and source has no {name}"
            elif x.shape != y.shape:
                return f"layer '{a.name}': {name} is {x.shape}, in the source {y.shape}"
            elif n := np.count_nonzero(x.view(np.uint32) != y.view(np.uint32)):
                return f"layer '{a.name}': {n} of {x.size} values of {name} differ"
    bare = [dataclasses.replace(x, provenance={}) for x in (ours, theirs)]
    return "" if format.dumps(bare[0]) == format.dumps(bare[1]) else "a layer's options differ"


def _random(graph: g.Graph) -> Iterator[Sample]:
    """Random inputs of several batch sizes and lengths, as far as the model leaves them open."""
    rng = np.random.default_rng(1)
    timed = any(v.spec.time and not v.time for v in graph.inputs)
    rows = ((1, 1), (1, 1), (3, 1), (17, 1))  # twice the one row that a frozen model takes
    for batch, steps in ((1, 1), (2, 5), (3, 33), (1, 100)) if timed else rows:
        steps = enough_steps(graph, steps)
        where = f"{batch} random row{'s' * (batch > 1)}" + (f" of {steps} steps" if timed else "")
        yield Sample(where, random_inputs(graph, rng, batch, steps))


def _oracle(graph: g.Graph) -> tuple[str, Callable[[Arrays], Arrays]]:
    from . import reference

    return "lstmc.reference in float64", lambda x: reference.run(graph, x)


def _relative(pairs: list[tuple[Arrays | None, Arrays | None]]) -> list[dict[str, float]]:
    """The error of each output of each sample, of one in which a side is missing none; inf for an
    output that the other side hasn't.

    Relative to the largest magnitude that the output has in any of the samples: a probability of
    1e-9 in one of them tells nothing.
    """
    scales: dict[str, float] = {}
    for _, want in pairs:
        for name, a in (want or {}).items():
            scales[name] = max(scales.get(name, 0.0), layerwise.magnitude(a))
    errors: list[dict[str, float]] = []
    for got, want in pairs:
        if got is None or want is None:
            errors.append({})
        elif set(got) != set(want):
            errors.append(dict.fromkeys(got, float("inf")))
        else:
            errors.append({n: layerwise.error(a, want[n], scales[n]) for n, a in got.items()})
    return errors


def _largest(errors: list[dict[str, float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for each in errors:
        for name, e in each.items():
            found[name] = max(e, found.get(name, 0.0))
    return found


def in_hex(digests: Mapping[str, int]) -> dict[str, str]:
    return {name: f"{value:08x}" for name, value in digests.items()}


def listed(digests: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {value:08x}" for name, value in digests.items())


def finding(name: str, ok: bool | None, text: str, **facts: Any) -> dict[str, Any]:
    return {"name": name, "ok": ok, "text": text, **facts}
