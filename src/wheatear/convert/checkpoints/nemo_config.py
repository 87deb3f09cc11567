"""Builds a configuration with NeMo's keys for containers that describe the model in their own."""

from collections.abc import Mapping, Sequence
from typing import Any


def nemo_config(
    *,
    target: str,
    preprocessor: Mapping[str, Any],
    encoder: Mapping[str, Any],
    width: int,
    feed_forward: int,
    contexts: Sequence[Sequence[int]],
    blank: int,
    prednet: Mapping[str, Any],
    jointnet: Mapping[str, Any],
    max_symbols: Any,
    prompts: Mapping[str, int] | None,
    num_prompts: Any,
) -> dict[str, Any]:
    """Returns a model_config.yaml with the settings that these containers do not store.

    Args:
        target: Name of the container.
        preprocessor: Section of that name; so are `encoder`, `prednet` and `jointnet`.
        encoder: Settings of the encoder except those below.
        width: Width of an encoder frame, NeMo's d_model.
        feed_forward: Width inside a feed-forward module; raises ValueError if it is not a
            multiple of `width`.
        contexts: Attention contexts, [left, right] in frames; the first is the default.
        blank: Id of the blank, which is the number of pieces.
        prednet: Sizes of the predictor.
        jointnet: Sizes and activation of the joint.
        max_symbols: Most tokens of a frame.
        prompts: Prompt id of each language; None or empty without language prompts.
        num_prompts: Length of the one-hot language prompt.
    """
    if width < 1 or feed_forward % width:
        raise ValueError(f"the feed-forward width {feed_forward} is not a multiple of {width}")
    config: dict[str, Any] = {
        "target": target,
        "preprocessor": dict(preprocessor),
        "encoder": {
            "subsampling": "dw_striding",
            "causal_downsampling": True,
            "self_attention_model": "rel_pos",
            "d_model": width,
            "ff_expansion_factor": feed_forward // width,
            "att_context_size": [list(context) for context in contexts],
            **encoder,
        },
        "decoder": {"vocab_size": blank, "prednet": dict(prednet)},
        "joint": {"jointnet": dict(jointnet)},
        "decoding": {"greedy": {"max_symbols": max_symbols}},
    }
    if prompts:
        config["model_defaults"] = {"num_prompts": num_prompts, "prompt_dictionary": dict(prompts)}
    return config
