"""Scoring more than fits in memory: big arrays, folders, Parquet; docs/howto/scale.md shows how.

arrayfile   an array in a file, read and written in pieces
work        unfinished output on disk: what is safely there, and how to go on after an interrupt
blocks      one big array through a model, in blocks of rows or chunks of time
"""
