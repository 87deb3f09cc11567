"""NeMo as in its streaming example: cache-aware steps in float32, a chunk at a time.

    python nemo_worker.py CHECKPOINT    (one of wheatear.bench.random_model)

Requests: {"do": "stream", ...} measures; {"do": "export", ...} writes the graphs for sherpa-onnx,
as the script of its maintainers does. NeMo's buffer computes mel of all audio at once; each chunk
is charged its share.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from nemo.collections.asr.models import EncDecRNNTBPEModel
from nemo.collections.asr.models.rnnt_bpe_models_prompt import EncDecRNNTBPEModelWithPrompt
from nemo.collections.asr.parts.utils.streaming_utils import CacheAwareStreamingAudioBuffer
from omegaconf import OmegaConf
from safetensors import safe_open
from sentencepiece import sentencepiece_model_pb2

NEMO = "nemo.collections.asr.modules"


def build(checkpoint):
    """Builds a float32 NeMo model with the weights of the checkpoint."""
    with safe_open(checkpoint, framework="pt") as archive:
        header = json.loads(archive.metadata()["wheatear"])
        state = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
    with tempfile.TemporaryDirectory() as folder:
        write_tokenizer(Path(folder), header["pieces"])
        config = OmegaConf.create(full_config(header, state, folder))
        prompted = "prompt_kernel.0.weight" in state
        model = (EncDecRNNTBPEModelWithPrompt if prompted else EncDecRNNTBPEModel)(cfg=config)
    missing, unexpected = model.load_state_dict(state, strict=False)
    wrong = [*unexpected, *(name for name in missing if not name.startswith("preprocessor."))]
    if wrong:
        raise SystemExit(f"the weights do not fit NeMo's model: {', '.join(wrong[:4])}")
    if prompted:
        model.set_inference_prompt("auto")
    return model.eval()


def full_config(header, state, tokenizer):
    """The configuration of the checkpoint, completed for NeMo."""
    config = header["config"]
    hidden, joint = config["decoder"]["prednet"]["pred_hidden"], config["joint"]["jointnet"]
    channels = state["encoder.pre_encode.conv.0.weight"].shape[0]
    width = config["encoder"]["d_model"]
    return {
        "sample_rate": 16000,
        "model_defaults": {
            "enc_hidden": width,
            "pred_hidden": hidden,
            "joint_hidden": joint["joint_hidden"],
            "initialize_prompt_feature": True,
            "num_prompts": 128,
            **config["model_defaults"],
        },
        "tokenizer": {"dir": tokenizer, "type": "bpe"},
        "preprocessor": {
            "_target_": f"{NEMO}.AudioToMelSpectrogramPreprocessor",
            "sample_rate": 16000, "window_stride": 0.01, "window": "hann", "n_fft": 512,
            "frame_splicing": 1, "dither": 0.0, "pad_to": 0, "log": True,
            **config["preprocessor"],
        },
        "encoder": {
            "_target_": f"{NEMO}.ConformerEncoder",
            "feat_out": -1, "use_bias": False, "subsampling_conv_channels": channels,
            "self_attention_model": "rel_pos", "pos_emb_max_len": 5000, "dropout": 0.0,
            "dropout_pre_encoder": 0.0, "dropout_emb": 0.0, "dropout_att": 0.0,
            **config["encoder"],
        },
        "decoder": {
            "_target_": f"{NEMO}.RNNTDecoder",
            "prednet": {"t_max": None, "dropout": 0.0, **config["decoder"]["prednet"]},
        },
        "joint": {
            "_target_": f"{NEMO}.RNNTJoint",
            "log_softmax": None, "preserve_memory": False, "fuse_loss_wer": False,
            "jointnet": {
                "dropout": 0.2, "encoder_hidden": width, "pred_hidden": hidden, **joint
            },
        },
        "decoding": {"strategy": "greedy_batch", "greedy": {"max_symbols": 10}},
        "optim": {"name": "adamw", "lr": 0.001},
    }  # fmt: skip


def write_tokenizer(folder, pieces):
    """Writes a SentencePiece model of the pieces, in the files that NeMo reads."""
    model = sentencepiece_model_pb2.ModelProto()
    model.trainer_spec.model_type = 2  # BPE
    model.trainer_spec.vocab_size = len(pieces)
    for n, (piece, score) in enumerate(pieces):
        model.pieces.add(piece=piece, score=score, type=1 if n else 2)
    (folder / "tokenizer.model").write_bytes(model.SerializeToString())
    lines = "".join(f"{piece}\n" for piece, _ in pieces)
    (folder / "vocab.txt").write_text(lines, encoding="utf-8")
    (folder / "tokenizer.vocab").write_text(lines, encoding="utf-8")


# -- token rate: see wheatear.bench.token_rate


def draw_tokens(frame, prediction, outputs, probability):
    """Tokens drawn from the digits of the first value of a frame and of a prediction."""
    digits = (frame + prediction) * 4096.0
    digits = digits - torch.floor(digits)
    tokens = 1 + (digits / probability * (outputs - 2)).to(torch.int64)
    return torch.where(digits < probability, tokens, torch.full_like(tokens, outputs - 1))


def force_token_rate(model, probability):
    """Replaces the decisions of the joint by drawn tokens."""
    joint = type(model.joint).joint_after_projection

    def joint_with_drawn_tokens(frames, predictions):
        logits = joint(model.joint, frames, predictions)
        tokens = draw_tokens(
            frames[:, :, None, 0], predictions[:, None, :, 0], logits.shape[-1], probability
        )
        return logits.scatter(-1, tokens[..., None], 1e4)

    model.joint.joint_after_projection = joint_with_drawn_tokens


# -- streaming -----------------------------------------------------------------------------------


def choose_latency(model, latency_ms):
    left = model.encoder.att_context_size[0]
    model.encoder.set_default_att_context_size([left, latency_ms // 80 - 1])


@torch.inference_mode()
def stream(model, request):
    """Fields of wheatear.bench.measurements.Measurement for the chunks after the warm-up."""
    torch.set_num_threads(request["threads"])
    choose_latency(model, request["latency_ms"])
    force_token_rate(model, request["token_probability"])
    samples = np.load(request["samples"])
    warm_up, chunks = request["warm_up"], request["chunks"]
    buffer = CacheAwareStreamingAudioBuffer(model, online_normalization=False)
    buffer.append_audio(samples[:16000])  # warms the preprocessor up
    buffer.reset_buffer()
    cpu, start = time.process_time(), time.perf_counter()
    buffer.append_audio(samples)
    seconds = len(samples) / 16000
    mel_s = (time.perf_counter() - start) * request["latency_ms"] / 1000 / seconds
    mel_cpu_s = (time.process_time() - cpu) * request["latency_ms"] / 1000 / seconds
    caches = model.encoder.get_initial_cache_state(batch_size=1)
    hypotheses = predictions = None
    chunk_ms, before = [], 0
    for n, (mel, length) in enumerate(buffer):
        if n == warm_up:
            chunk_ms.clear()
            cpu, before = time.process_time(), len(hypotheses[0].y_sequence)
        if n == warm_up + chunks:
            break
        start = time.perf_counter()
        predictions, _texts, *caches, hypotheses = model.conformer_stream_step(
            processed_signal=mel, processed_signal_length=length,
            cache_last_channel=caches[0], cache_last_time=caches[1],
            cache_last_channel_len=caches[2], keep_all_outputs=buffer.is_buffer_empty(),
            previous_hypotheses=hypotheses, previous_pred_out=predictions,
            drop_extra_pre_encoded=n and model.encoder.streaming_cfg.drop_extra_pre_encoded,
            return_transcription=True,
        )  # fmt: skip
        chunk_ms.append((time.perf_counter() - start + mel_s) * 1000)
    return {
        "chunk_ms": chunk_ms,
        "audio_s": len(chunk_ms) * request["latency_ms"] / 1000,
        "cpu_s": time.process_time() - cpu + mel_cpu_s * len(chunk_ms),
        "tokens": len(hypotheses[0].y_sequence) - before,
    }


# -- sherpa-onnx ---------------------------------------------------------------------------------


class ExportedEncoder(torch.nn.Module):
    """The encoder and the prompt kernel, for the language `auto`."""

    def __init__(self, model):
        super().__init__()
        self.encoder, self.model = model.encoder, model

    def forward(self, *inputs):
        encoded, *rest = self.encoder.forward_for_export(*inputs)
        return self.model._apply_prompt_to_encoded(encoded), *rest


class ExportedJoint(torch.nn.Module):
    """The joint, with drawn tokens."""

    def __init__(self, model, probability):
        super().__init__()
        self.joint, self.probability = model.joint, probability

    def forward(self, frames, predictions):
        frames, predictions = frames.transpose(1, 2), predictions.transpose(1, 2)
        inside = self.joint.enc(frames)[:, :, None] + self.joint.pred(predictions)[:, None]
        logits = self.joint.joint_net(inside)
        outputs = logits.shape[-1]
        first = frames[:, :, None, 0], predictions[:, None, :, 0]
        tokens = draw_tokens(*first, outputs, self.probability)
        chosen = torch.arange(outputs) == tokens[..., None]
        return logits + 1e4 * chosen.to(logits.dtype)


@torch.no_grad()
def export(model, request):
    """Writes encoder, decoder and joiner in float32, and tokens.txt, into a folder."""
    choose_latency(model, request["latency_ms"])
    folder = Path(request["folder"])
    encoder, decoder, cfg = model.encoder, model.decoder, model.encoder.streaming_cfg
    width = encoder.d_model
    window = cfg.chunk_size[1] + cfg.pre_encode_cache_size[1]
    caches = [
        torch.zeros(1, len(encoder.layers), cfg.last_channel_cache_size, width),
        torch.zeros(1, len(encoder.layers), width, encoder.conv_context_size[0]),
        torch.zeros(1, dtype=torch.int64),
    ]
    encoder.set_export_config({"cache_support": True})
    encoder.export_cache_support = True
    names = ["cache_last_channel", "cache_last_time", "cache_last_channel_len"]
    signal = torch.zeros(1, encoder._feat_in, window), torch.full((1,), window, dtype=torch.int64)
    torch.onnx.export(
        ExportedEncoder(model), (*signal, *caches), str(folder / "encoder.onnx"),
        input_names=["audio_signal", "length", *names],
        output_names=["outputs", "encoded_lengths", *(f"{name}_next" for name in names)],
        dynamic_axes={"audio_signal": {0: "B", 2: "T"}, "length": {0: "B"}},
        opset_version=17, dynamo=False, external_data=True,
    )  # fmt: skip
    model.decoder.export(str(folder / "decoder.onnx"))
    frames, predictions = torch.randn(1, width, 1), torch.randn(1, decoder.pred_hidden, 1)
    joint = ExportedJoint(model, request["token_probability"])
    torch.onnx.export(
        joint, (frames, predictions), str(folder / "joiner.onnx"),
        input_names=["encoder_outputs", "decoder_outputs"], output_names=["outputs"],
        opset_version=17, dynamo=False,
    )  # fmt: skip
    pieces = [*model.joint.vocabulary, "<blk>"]
    lines = "".join(f"{piece} {n}\n" for n, piece in enumerate(pieces))
    (folder / "tokens.txt").write_text(lines, encoding="utf-8")
    return {
        "metadata": {
            "vocab_size": decoder.vocab_size, "window_size": window,
            "chunk_shift": cfg.chunk_size[1], "normalize_type": "", "subsampling_factor": 8,
            "feat_dim": encoder._feat_in, "pred_rnn_layers": decoder.pred_rnn_layers,
            "pred_hidden": decoder.pred_hidden, "model_type": "EncDecHybridRNNTCTCBPEModel",
            **{f"cache_last_channel_dim{n}": size for n, size in enumerate(caches[0].shape) if n},
            **{f"cache_last_time_dim{n}": size for n, size in enumerate(caches[1].shape) if n},
        }
    }  # fmt: skip


def main(checkpoint):
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries is no part of the answer
    start = time.perf_counter()
    model = build(checkpoint)
    load_s = time.perf_counter() - start
    for line in sys.stdin:
        request = json.loads(line)
        answer = {"stream": stream, "export": export}[request["do"]](model, request)
        if request["do"] == "stream":
            answer["load_s"] = load_s
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
