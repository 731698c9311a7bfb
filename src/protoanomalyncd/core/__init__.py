"""Ground floor: records, errors, names of implementations, threads, linear algebra.

Imports nothing else of this package.
"""
