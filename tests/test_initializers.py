"""Initialisers: shapes, statistics beside Keras's, and the same bits every time."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from keras_nets import keras

import lstmc
from lstmc import initializers
from lstmc.orthogonal import orthogonal
from lstmc.random import Numbers, _log, set_random_seed

RANDOM = {
    "glorot_uniform": {}, "glorot_normal": {}, "he_uniform": {}, "he_normal": {},
    "lecun_uniform": {}, "lecun_normal": {}, "random_uniform": {"minval": -1.0, "maxval": 3.0},
    "random_normal": {"mean": 2.0, "stddev": 0.5}, "truncated_normal": {"mean": 1.0, "stddev": 2.0},
    "orthogonal": {"gain": 2.0},
    "variance_scaling": {"scale": 3.0, "mode": "fan_out", "distribution": "untruncated_normal"},
}  # fmt: skip
SHAPE = (5, 60, 80)


@pytest.mark.parametrize("name", RANDOM)
def test_statistics_are_keras_s(name):
    set_random_seed(1)
    keras.utils.set_random_seed(1)
    mine = np.stack([getattr(initializers, name)(**RANDOM[name])(SHAPE) for _ in range(4)])
    assert mine.dtype == np.float32
    assert mine.shape == (4, *SHAPE)
    theirs = np.stack(
        [
            keras.ops.convert_to_numpy(getattr(keras.initializers, name)(**RANDOM[name])(SHAPE))
            for _ in range(4)
        ]
    )
    deviation = theirs.std()
    assert abs(mine.mean() - theirs.mean()) < 5 * deviation / math.sqrt(mine.size / 2)
    for power, within in ((2, 0.02), (4, 0.06)):  # of 96000 numbers each
        a, b = (np.mean((x - x.mean()) ** power) for x in (mine, theirs))
        assert abs(a / b - 1) < within, power
    if "uniform" in name or "truncated" in name or name in ("glorot_normal", "he_normal"):
        assert np.abs(mine - mine.mean()).max() < 1.01 * np.abs(theirs - theirs.mean()).max()


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (4, 4), (3, 4, 7), (40, 160), (1, 6), (64, 2)])
def test_orthogonal(shape):
    q = initializers.Orthogonal(gain=0.5)(shape).astype(float).reshape(-1, shape[-1])
    q = q.T if q.shape[0] < q.shape[1] else q
    assert np.abs(q.T @ q - 0.25 * np.eye(q.shape[1])).max() < 1e-7


def test_orthogonal_is_a_decomposition_with_a_positive_diagonal():
    a = Numbers(2).normal(90 * 70).reshape(90, 70)
    q, r = np.linalg.qr(a)
    assert np.abs(q * np.sign(np.diag(r)) - orthogonal(a)).max() < 1e-9


def test_numbers():
    n = Numbers(0)
    u = n.uniform(100_000)
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(u.mean() - 0.5) < 0.005
    x = n.normal(400_000)
    assert abs(x.mean()) < 0.008
    assert abs(x.std() - 1) < 0.006
    assert abs(np.mean(x**4) - 3) < 0.06
    assert sorted(n.permutation(1000)) == list(range(1000))
    assert n.normal(0).shape == n.uniform(0).shape == (0,)
    assert 0 <= n.seed() < 1 << 63
    s = np.concatenate([Numbers(1).uniform(10_000), [2.0**-100, 0.5, 1 - 2.0**-53, 1.0]])
    assert np.abs(_log(s) - np.log(s)).max() < 1e-14


DIGESTS = {
    "uniform": 3637800005, "normal": 3644675265,
    "permutation": 1576727860, "glorot_uniform": 1017283222,
    "he_normal": 1191271123, "orthogonal": 1167393510,
    "truncated_normal": 3092701225, "random_normal": 3240043667,
}  # fmt: skip


def recorded(name):
    set_random_seed(42)
    if name in ("uniform", "normal", "permutation"):
        return lstmc.digest(getattr(Numbers(), name)(1000))
    return lstmc.digest(initializers.get(name)((40, 50)))


@pytest.mark.parametrize("name", DIGESTS)
def test_the_same_bits_every_time(name):
    assert recorded(name) == DIGESTS[name]


def test_the_same_bits_on_a_lesser_cpu():
    """Without the vector instructions that numpy and its BLAS choose here."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_initializers as t; "
        "import numpy; print(*(t.recorded(n) for n in t.DIGESTS)); "
        "q = t.initializers.Orthogonal(seed=1)((90, 70)); print(t.lstmc.digest(q))"
    )
    found = set()
    for env in (
        {},
        {
            "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512_SKX",
            "OPENBLAS_CORETYPE": "Nehalem",
        },
        {"OPENBLAS_NUM_THREADS": "1", "OPENBLAS_CORETYPE": "Haswell"},
    ):
        run = subprocess.run(
            [sys.executable, "-P", "-W", "ignore", "-c", code, str(Path(__file__).parent)],
            env={**os.environ, **env}, capture_output=True, text=True,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        found.add(run.stdout)
    assert len(found) == 1


def test_streams():
    set_random_seed(5)
    first, second = Numbers().uniform(3), Numbers().uniform(3)
    assert (first != second).all()
    set_random_seed(5)
    Numbers().uniform(1000)  # what one takes does not shift the next
    np.testing.assert_array_equal(Numbers().uniform(3), second)
    seeded = initializers.GlorotUniform(seed=3)
    np.testing.assert_array_equal(seeded((2, 3)), seeded((2, 3)))
    other = initializers.GlorotUniform()
    assert (other((2, 3)) != other((2, 3))).all()


@pytest.mark.parametrize("seed", [-1, 1.5, "1", None, True, 1 << 64])
def test_what_is_no_seed(seed):
    with pytest.raises(lstmc.RangeError, match=r"seed is .* a whole number from 0 to"):
        set_random_seed(seed)


def test_get():
    assert isinstance(initializers.get("GlorotUniform"), initializers.GlorotUniform)
    assert isinstance(initializers.get(initializers.Zeros), initializers.Zeros)
    serialized = keras.initializers.serialize(keras.initializers.HeNormal(seed=3))
    assert initializers.get(serialized).seed == 3
    np.testing.assert_array_equal(initializers.get(np.ones((2, 2)))((2, 2)), np.ones((2, 2)))
    own = initializers.get(lambda shape: np.full(shape, 2.0))
    np.testing.assert_array_equal(own((2,)), [2, 2])
    assert initializers.Constant(3)((2,)).tolist() == [3, 3]
    assert initializers.Identity(2)((2, 3)).tolist() == [[2, 0, 0], [0, 2, 0]]
    for wrong in ("glorot", 3, None, {"class_name": "Foo"}, int):
        with pytest.raises(lstmc.ConversionError, match=r"is not known; use .*glorot_uniform"):
            initializers.get(wrong)
    with pytest.raises(lstmc.ConversionError, match=r"initializer HeNormal: .*foo"):
        initializers.get({"class_name": "HeNormal", "config": {"foo": 1}})


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: initializers.Constant(math.nan), lstmc.RangeError, "value is nan"),
        (lambda: initializers.Constant("1"), lstmc.RangeError, "value is '1'"),
        (lambda: initializers.VarianceScaling(0), lstmc.RangeError, "a positive number"),
        (lambda: initializers.VarianceScaling(mode="fan"), lstmc.ConversionError, "fan_avg"),
        (lambda: initializers.Orthogonal()((3,)), lstmc.ShapeError, r"\(3,\)"),
        (lambda: initializers.Identity()((3, 3, 3)), lstmc.ShapeError, "matrices"),
        (lambda: initializers.get(np.ones(3))((4,)), lstmc.ShapeError, r"\(3,\).*\(4,\)"),
    ],
)
def test_what_can_t_be(make, error, says):
    with pytest.raises(error, match=says):
        make()
