"""Training: see docs/howto/train.md.

    engine.py   weights in training, and a step of them, over the core's trainer
"""
