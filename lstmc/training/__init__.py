"""Training: what fit, evaluate and checkpoints are made of. Imported when it is first needed.

The classes users name are in lstmc.optimizers, lstmc.losses, lstmc.metrics and lstmc.callbacks.

    specs.py    what is trained and how, as plain values
    engine.py   a step of training, over the core's trainer; holder.py: what is kept in that
    trainer.py  what compile makes: engine, optimizer, losses, metrics; NaN and the way back
    loop.py     fit and evaluate
    batches.py  a step's arrays, checked; feeds.py: where they come from; order.py: in which order
    tally.py    losses and metrics of an epoch; gathering.py, decisions.py: kinds of metrics
    calling.py  callbacks and their order; monitors.py, progress.py: those that watch and tell
    saving.py   a run as arrays, checkpoint.py: arrays as bytes (docs/CHECKPOINTS.md)

The classes users name are in lstmc.optimizers, lstmc.losses, lstmc.metrics and lstmc.callbacks.
"""
