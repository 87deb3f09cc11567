"""Reads NeMo's YAML configurations, with limits on the cost of hostile YAML.

Nested aliases expand to any size, a thousand brackets exhaust the stack, and parsing a number to
base 60 takes time quadratic in its length. The tokens are checked before anything is built.
"""

import re
from typing import Any

import yaml

from wheatear.errors import CheckpointError

LARGEST_YAML = 4 << 20  # bytes
_DEEPEST, _MOST_TOKENS, _LONGEST_NUMBER = 64, 1 << 20, 4096
_OPEN = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_CLOSE = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)
_NUMBER = re.compile(r"[-+0-9_.:xabo]*")


class _NemoLoader(yaml.CSafeLoader):
    """YAML as NeMo uses it: `no` is Norwegian, not false; `on`, `off` and `yes` are texts too."""


_NemoLoader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if tag != "tag:yaml.org,2002:bool"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_NemoLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def read_yaml(raw: bytes, name: str) -> dict[str, Any]:
    """Parses a configuration. Raises CheckpointError; `name` is the file in its message."""
    try:
        _check_tokens(raw, name)
        config = yaml.load(raw, _NemoLoader)  # noqa: S506  (a safe loader)
    except CheckpointError:
        raise
    except (yaml.YAMLError, ValueError, ArithmeticError, TypeError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise CheckpointError(f"{name} cannot be read: {why[:300]}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{name} is not a configuration")
    return config


def _check_tokens(raw: bytes, name: str) -> None:
    depth = 0
    for number, token in enumerate(yaml.scan(raw, yaml.CSafeLoader)):
        depth += isinstance(token, _OPEN) - isinstance(token, _CLOSE)
        if isinstance(token, yaml.AliasToken):
            raise CheckpointError(f"{name} holds aliases, which are refused")
        if depth > _DEEPEST:
            raise CheckpointError(f"{name} is nested too deep")
        if number > _MOST_TOKENS:
            raise CheckpointError(f"{name} has more than {_MOST_TOKENS:,} words")
        long = isinstance(token, yaml.ScalarToken) and len(token.value) > _LONGEST_NUMBER
        if long and _NUMBER.fullmatch(token.value):
            raise CheckpointError(f"{name} holds a number of {len(token.value):,} digits")
