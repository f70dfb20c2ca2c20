"""Broken input, made by a seed and given to the command line: does each case end as `primase` promises?

inputs.py    the good files that cases begin with
damage.py    what is done to bytes, lines and values
kinds.py     the kinds of cases: which file is broken, and which command reads it
verdict.py   one case through the command line in this process, and what must hold afterwards
__main__.py  many cases, counted; the broken ones kept
"""
