"""A program: the `wheatear` command with a model that says so many tokens a second.

python -m wheatear.cli.bench_speaker TOKENS serve ...
"""

import sys

from wheatear.bench.token_rate import speaking
from wheatear.cli import main

if __name__ == "__main__":
    with speaking(float(sys.argv[1])):
        main(sys.argv[2:])
