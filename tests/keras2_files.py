"""HDF5 files as Keras 2 wrote them, made by hand: there is no Keras 2 here to make them."""

import json

import h5py
import numpy as np


def keras2_layer(class_name, name, **config):
    base = {"name": name, "trainable": True, "dtype": "float32"}
    return {"class_name": class_name, "config": {**base, **config}}


def keras2_lstm(name, units, **config):
    options = {
        "units": units,
        "activation": "tanh",
        "recurrent_activation": "hard_sigmoid",
        "use_bias": True,
        "return_sequences": False,
        "return_state": False,
        "go_backwards": False,
        "stateful": False,
        "unroll": False,
        "implementation": 1,
    }
    return keras2_layer("LSTM", name, **{**options, **config})


def keras2_dense(name, units, **config):
    options = {"units": units, "activation": "linear", "use_bias": True}
    return keras2_layer("Dense", name, **{**options, **config})


def keras2_file(path, root, weights, version="2.1.4"):
    """An HDF5 file as Keras 2 writes it; ``weights``: layer to {weight name: array}."""
    with h5py.File(path, "w") as f:
        f.attrs["keras_version"] = version.encode()
        f.attrs["backend"] = b"tensorflow"
        f.attrs["model_config"] = json.dumps(root).encode()
        group = f.create_group("model_weights")
        group.attrs["layer_names"] = np.array([n.encode() for n in weights])
        for name, arrays in weights.items():
            sub = group.create_group(name)
            sub.attrs["weight_names"] = np.array([n.encode() for n in arrays])
            for n, a in arrays.items():
                sub[n] = a
    return path


def named(layer_name, arrays, *parts):
    names = parts or ("kernel", "recurrent_kernel", "bias")
    names = names if len(arrays) == 3 else ("kernel", "bias")
    return {f"{layer_name}/{n}:0": a for n, a in zip(names, arrays, strict=True)}
