"""The `wheatear` command with a model of a forced token rate, for `wheatear bench serve`.

python -m wheatear.cli.bench_speaker TOKENS_PER_S serve ...
"""

import sys

from wheatear.bench.token_rate import forced_token_rate
from wheatear.cli import main

if __name__ == "__main__":
    with forced_token_rate(float(sys.argv[1])):
        main(sys.argv[2:])
