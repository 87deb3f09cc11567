"""Reads NeMo's configurations, which are YAML, without what makes YAML of strangers dangerous.

A few lines of aliases to aliases make a configuration of any size, a thousand brackets end a
process that composes them, and a number to the base of 60 takes a time that goes with the square of
its length. The tokens are looked at before anything is built of them.
"""

import re
from typing import Any

import yaml

from wheatear.errors import CheckpointError

LARGEST_YAML = 4 << 20  # bytes
_DEEPEST, _MOST_TOKENS, _LONGEST_WORD = 64, 1 << 20, 4096
_OPEN = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_CLOSE = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)
_NUMBER = re.compile(r"[-+0-9_.:xabo]*")


class _Yaml(yaml.CSafeLoader):
    """YAML as NeMo means it: `no` is Norwegian, not false, and so are `on`, `off` and `yes`."""


_Yaml.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if tag != "tag:yaml.org,2002:bool"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def read_yaml(raw: bytes, name: str) -> dict[str, Any]:
    """The mapping that a configuration is. Raises CheckpointError."""
    try:
        if fault := _fault(raw):
            raise CheckpointError(f"{name} {fault}")
        config = yaml.load(raw, _Yaml)  # noqa: S506  (a safe loader)
    except (yaml.YAMLError, ValueError, ArithmeticError, TypeError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        why = " ".join(str(error).split())
        raise CheckpointError(f"{name} cannot be read: {why[:300]}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{name} is not a configuration")
    return config


def _fault(raw: bytes) -> str | None:
    """What a configuration is refused for, before it is built."""
    depth = 0
    for number, token in enumerate(yaml.scan(raw, yaml.CSafeLoader)):
        depth += isinstance(token, _OPEN) - isinstance(token, _CLOSE)
        if isinstance(token, yaml.AliasToken):
            return "holds aliases, which are refused"
        if depth > _DEEPEST:
            return "is nested too deep"
        if number > _MOST_TOKENS:
            return f"has more than {_MOST_TOKENS:,} words"
        if (
            isinstance(token, yaml.ScalarToken)
            and len(token.value) > _LONGEST_WORD
            and _NUMBER.fullmatch(token.value)
        ):
            return f"holds a number of {len(token.value):,} digits"
    return None
