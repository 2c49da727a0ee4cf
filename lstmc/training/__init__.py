"""Training: what fit, evaluate and checkpoints are made of. Imported when it is first needed.

The classes users name are in lstmc.optimizers, lstmc.losses, lstmc.metrics and lstmc.callbacks.

    specs.py    what is trained and how, as plain values
    engine.py   weights in training, and a step of them, over the core's trainer
"""
