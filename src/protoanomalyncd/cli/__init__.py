"""The command line: prepare, generate, discover, predict, evaluate, export, classify, demo.

Each command is a small module that calls the library; errors of the package become one line and
exit status 2. Source: ours.

    $ protoanomalyncd discover DATA/mtd --labelled DATA/neu --n-novel 6 --seed 0 --out RUN
"""
