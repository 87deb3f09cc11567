"""Tensors of external encoders and the metadata of their graphs."""

import onnx
import pytest

import wheatear
from wheatear.errors import BundleError


def with_metadata(folder, changes):
    path = folder / "encoder.onnx"
    model = onnx.load(path, load_external_data=False)
    kept = {p.key: p.value for p in model.metadata_props} | changes
    del model.metadata_props[:]
    for key, value in kept.items():
        if value is not None:
            model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalize_type": "per_feature"}, "cannot be streamed"),
        ({"subsampling_factor": "4"}, "subsampling_factor is 4"),
        ({"chunk_shift": None}, "does not state clearly"),
        ({"chunk_shift": "33"}, "does not state clearly"),
        ({"chunk_shift": "0"}, "does not state clearly"),
        ({"chunk_shift": "99999999"}, "does not state clearly"),
        ({"chunk_size_output_frames": "7"}, r"does not state clearly .*: 7.*: 4"),
        ({"cache_last_channel_dim2": None}, "does not declare the size of cache_last_channel"),
        ({"cache_last_channel_dim2": "-3"}, "does not declare the size"),
        ({"cache_last_channel_dim2": "999999999999"}, "does not declare the size"),
        ({"cache_last_channel_dim2": "40"}, "does not run|caches of other shapes"),
        ({"cache_last_time_dim3": "7"}, "does not run|caches of other shapes"),
        ({"prompt_dictionary": "{"}, "prompt dictionary cannot be read"),
        ({"prompt_dictionary": "[]"}, "prompt dictionary is damaged"),
        ({"prompt_dictionary": '{"en": "x"}'}, "prompt dictionary is damaged"),
        ({"prompt_dictionary": '{"en": -1}'}, "prompt dictionary is damaged"),
    ],
)
def test_metadata_that_is_wrong(copy_of, changes, message):
    folder = with_metadata(copy_of("sherpa-320"), changes)
    with pytest.raises(BundleError, match=message):
        wheatear.load(folder, threads=1)
