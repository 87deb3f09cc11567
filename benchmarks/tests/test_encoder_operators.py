"""Profile of the encoder by operator."""

import re

import pytest
from random_bundles import make_setting

from benchmarks.profiling.encoder_operators import BETWEEN, operator_shares, profile
from wheatear.bench.token_rate import SPEECH


def test_table_has_products_by_size(models, capsys):
    profile(random="tiny", latency=(80, 320), seconds=1.0)
    assert re.search(r"MatMulNBits 64 x 256 +\d+\.\d +\d+\.\d", capsys.readouterr().out)


def test_shares_add_up_to_one(tiny):
    shares = operator_shares(tiny, make_setting(seconds=1.0, tokens_per_s=SPEECH))
    assert sum(shares.values()) == pytest.approx(1)
    assert BETWEEN in shares
    assert "If" not in shares
