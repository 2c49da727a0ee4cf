"""Scoring more than fits in memory: big arrays, folders, Parquet; docs/howto/scale.md shows how.

run         what ``lstmc run`` does with the files it is given
arrayfile   an array in a file, read and written in pieces
work        unfinished output on disk: what is safely there, and how to go on after an interrupt
blocks      one big array through a model, in blocks of rows or chunks of time
folder      a folder of files, each to a file of the same name
ragged      rows of different lengths, many at once
parquet     Parquet files; columns: those of tables as the rows that models take, and back
"""
