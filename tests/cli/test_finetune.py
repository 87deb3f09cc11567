"""Fine-tuning: from NVIDIA's container and from our own, whole, frozen or with adapters."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch

import wheatear
from wheatear.cli import main
from wheatear.convert.pipeline import convert
from wheatear.errors import CheckpointError, PlanError
from wheatear.train.data.batches import Recipe
from wheatear.train.data.mel import LogMel
from wheatear.train.network import lora as adapters
from wheatear.train.network.transducer import Network, NetworkConfig
from wheatear.train.run.config import Plan, Stage
from wheatear.train.run.loop import batches_of
from wheatear.train.run.pretrained import find_checkpoint, read_start
from wheatear.train.run.trainer import Trainer
from wheatear.train.run.training_data import gather

ORACLE = Path(__file__).parents[1] / "oracle"
STAGE = Stage(1.0, Recipe(parts={"a": 1}, batch_seconds=20, augment=0.3, silence=0.1), (0, 13))
PLAN = Plan(
    "tuned", rate=1e-3, steps=3, warmup=1, ctc=0.0, checks=0, start=str(ORACLE / "tiny-multi.nemo"),
    stages=(STAGE,),
)  # fmt: skip


@pytest.fixture
def work(made_up_corpus: Path) -> Path:
    return made_up_corpus.parent


def nothing_but_nearest(line: str) -> None:
    """Fails on a warning; a locale of another region is none."""
    if not line.startswith("language "):
        pytest.fail(line)


def trainer_of(plan: Plan, work: Path) -> Trainer:
    return Trainer(plan, gather(plan, work, nothing_but_nearest), work)


def run(trainer: Trainer, steps: int) -> None:
    trainer.network.train()
    batches = batches_of(trainer)
    for _ in range(steps):
        trainer.update([next(batches)])


@pytest.mark.parametrize("model", ["tiny-multi", "tiny-en", "prompt16", "bytes", "nested"])
def test_a_start_says_what_nemo_said(work: Path, model: str) -> None:
    """Also with the rows of new pieces behind its own: they say nothing yet."""
    trainer = trainer_of(replace(PLAN, start=str(ORACLE / f"{model}.nemo")), work)
    start = trainer.material.start
    assert start is not None
    plain = Network(start.config).eval()
    plain.load_state_dict(start.weights)
    trainer.network.eval()
    mel, lengths = LogMel(start.config.mels)(torch.randn(1, 32000) / 10, torch.tensor([32000]))
    prompt = torch.tensor([0])
    with torch.no_grad():
        ours, _ = trainer.network.encode(mel, lengths, prompt, 1)
        theirs, _ = plain.encode(mel, lengths, prompt, 1)
        torch.testing.assert_close(ours, theirs)
        old = start.config.vocab_size
        logits = []
        for network in (trainer.network, plain):
            blank = torch.full((1, 1), network.config.vocab_size)
            said, _ = network.decoder(torch.cat((blank, torch.tensor([[3, 7]])), 1))
            projected = network.joint.enc(ours[:, :1]), network.joint.pred(said)
            logits.append(network.joint(*projected))
    new, before = logits
    torch.testing.assert_close(new[..., :old], before[..., :old])
    torch.testing.assert_close(new[..., -1], before[..., -1])


def test_a_nemo_checkpoint_learns_and_goes_back_out(work: Path) -> None:
    """.nemo -> finetune -> safetensors -> convert -> transcribe, and once more from there."""
    trainer = trainer_of(PLAN, work)
    before = trainer.material.start
    assert before is not None
    run(trainer, 3)
    path = trainer.export()
    convert(path, work / "bundle", "fp32")
    recognizer = wheatear.load(work / "bundle")
    assert set(before.prompts) <= set(recognizer.languages)
    assert trainer.material.summary()["locales"] == ["en-US", "es-US", "fr-FR"]
    recognizer.transcribe(np.zeros(16000, np.float32), language="fr-CA", latency_ms=80)
    # Old pieces keep their ids, so old text is split as before.
    after = read_start(path)
    old = before.tokenizer.pieces()
    assert after.tokenizer.pieces()[: len(old)] == old
    assert after.prompts.items() >= before.prompts.items()
    assert not torch.equal(after.weights["joint.enc.weight"], before.weights["joint.enc.weight"])
    again = trainer_of(replace(PLAN, start=str(path), name="again"), work)
    assert again.material.tokenizer.size == after.config.vocab_size
    for name, value in again.network.state_dict().items():
        torch.testing.assert_close(value, trainer.average[name])


def test_frozen_layers_stay(work: Path) -> None:
    start = _checkpoint(work, layers=3)
    trainer = trainer_of(replace(PLAN, start=str(start), freeze=2), work)
    before = {name: p.detach().clone() for name, p in trainer.network.named_parameters()}
    run(trainer, 3)
    for name, parameter in trainer.network.named_parameters():
        frozen = name.startswith(("encoder.pre_encode", "encoder.layers.0.", "encoder.layers.1."))
        if frozen or not name.startswith("decoder"):  # pieces that were not said stay as well
            assert torch.equal(parameter, before[name]) == frozen, name
    with pytest.raises(PlanError, match="freeze is 4, but the encoder has 3 layers"):
        trainer_of(replace(PLAN, start=str(start), freeze=4), work)


def test_adapters_train_alone_and_merge(work: Path) -> None:
    start = _checkpoint(work, layers=2)
    plan = replace(PLAN, start=str(start), lora=4, freeze=1)
    trainer = trainer_of(plan, work)
    network = trainer.network
    trained = sum(p.numel() for p in trainer.trained.values())
    assert not any(n.startswith("encoder.layers.0.") for n in trainer.trained)
    assert {n.rpartition(".")[2] for n in trainer.trained if n.startswith("encoder.")} == {
        "up", "down",
    }  # fmt: skip
    assert trained < sum(p.numel() for p in network.parameters()) / 2
    first = read_start(start).weights
    run(trainer, 4)
    trainer.average = {name: p.detach().clone() for name, p in trainer.trained.items()}
    weights = adapters.merged(network)
    assert weights.keys() == first.keys()
    plain = Network(network.config).eval()
    plain.load_state_dict(weights)
    mel, lengths = torch.randn(1, 200, 128) * 4 - 8, torch.tensor([200])
    with torch.no_grad():
        ours, _ = network.eval().encode(mel, lengths, torch.tensor([0]), 3)
        theirs, _ = plain.encode(mel, lengths, torch.tensor([0]), 3)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    changed = weights["encoder.layers.1.self_attn.linear_q.weight"]
    difference = changed - first["encoder.layers.1.self_attn.linear_q.weight"]
    assert 0 < torch.linalg.matrix_rank(difference, atol=1e-6) <= 4
    # It resumes, and what it exports is what it computes.
    trainer.save()
    again = trainer_of(plan, work)
    assert again.load()
    exported = read_start(again.export())
    torch.testing.assert_close(
        exported.weights["encoder.layers.1.self_attn.linear_q.weight"], changed
    )
    for rank in (0, -1, 33):
        with pytest.raises(PlanError, match=f"lora is {rank}"):
            adapters.adapt(Network(network.config), rank)


def _checkpoint(work: Path, layers: int) -> Path:
    """A checkpoint of this room's own."""
    sizes = {
        "d_model": 32, "layers": layers, "heads": 2, "subsampling_channels": 8,
        "predictor_hidden": 16, "joint_hidden": 16, "mel_shift": 8.0, "mel_scale": 0.25,
    }  # fmt: skip
    plan = Plan("base", rate=1e-3, steps=1, pieces=70, checks=0, network=sizes, stages=(STAGE,))
    path = trainer_of(plan, work).export()
    (work / "tokenizer.model").unlink()
    return path


def test_going_on_from_an_export_loses_nothing(work: Path) -> None:
    """Shift and scale of the input were folded away, and are unfolded."""
    start = read_start(_checkpoint(work, layers=1))
    assert (start.config.mel_shift, start.config.mel_scale) == (8.0, 0.25)
    trainer = trainer_of(replace(PLAN, start=str(work / "base.safetensors")), work)
    back = read_start(trainer.export())
    for name, value in start.weights.items():
        torch.testing.assert_close(back.weights[name], value, atol=1e-6, rtol=1e-5)


def test_what_cannot_be_started_from_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint nothing-here"):
        find_checkpoint("nothing-here")
    with pytest.raises(CheckpointError, match=r"cannot be trained here: .*conv_norm_type"):
        read_start(ORACLE / "batchnorm.nemo")
    bundle = tmp_path / "bundle"
    convert(ORACLE / "tiny-en.nemo", bundle, "int8")
    with pytest.raises(CheckpointError, match=r"holds no checkpoint\.safetensors"):
        find_checkpoint(str(bundle))
    assert NetworkConfig(10).prompts == 128


def tones(folder: Path, count: int) -> Path:
    """A manifest of one's own: ogg and wav files of other rates, Dutch words as tones."""
    lines = []
    words = ["een", "twee", "drie", "vier", "vijf", "zes"]
    for i in range(count):
        said = [words[(i * k + k) % 6] for k in range(1, 4)]
        rate = (8000, 22050)[i % 2]
        time = np.arange(rate // 3) / rate
        clip = np.concatenate(
            [0.3 * np.sin(math.tau * (200 + 90 * words.index(word)) * time) for word in said]
        )
        name = f"{i}.{'wav' if i % 3 else 'flac'}"
        sf.write(folder / name, np.stack([clip, clip], 1) if i % 5 == 0 else clip, rate)
        text = " ".join(said).capitalize() + "."
        lines.append(json.dumps({"audio_filepath": name, "text": text}))
    manifest = folder / "mine.jsonl"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def command(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_the_command_on_a_small_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new locale for a checkpoint of NVIDIA's form, from a manifest with a bad line in it."""
    monkeypatch.chdir(tmp_path)
    manifest = tones(tmp_path, 24)
    start = ORACLE / "tiny-multi.nemo"
    options = ["--device", "cpu", "--steps", 4, "--locale", "nl-NL", "--threads", 1]
    options += ["--latencies", 80, 1120]
    code, out, err = command(capsys, "finetune", start, manifest, *options)
    assert code == 0, err
    folder = tmp_path / "tiny-multi-finetuned"
    assert "wheatear convert" in out
    report = json.loads((folder / "report.json").read_text())
    assert report["checks"][0]["step"] == 0
    assert report["locales"] == ["nl-NL"]
    assert report["steps"] == 4
    made = folder / "tiny-multi-finetuned.safetensors"
    code, out, err = command(capsys, "convert", made, folder / "bundle", "--precision", "fp32")
    assert code == 0, err
    assert "nl-NL" in wheatear.load(folder / "bundle").languages

    # It goes on, and not with other options.
    plan = Plan.read(folder / "plan.json")
    assert plan.stages[0].lookaheads == (0, 13)
    assert plan.check_latencies == (80, 1120)
    options[3] = 6
    code, _, err = command(capsys, "finetune", start, manifest, *options)
    assert code == 0
    assert "going on at step 4" in err
    code, _, err = command(capsys, "finetune", start, manifest, *options, "--lora", 2)
    assert code == 2
    assert "holds a run with other options" in err

    with manifest.open("a") as file:
        file.write('{"audio_filepath": "gone.wav", "text": "Weg."}\n')
    options += ["--output", tmp_path / "other"]
    code, _, err = command(capsys, "finetune", start, manifest, *options)
    assert code == 2
    assert "mine.jsonl, line 25" in err
    assert "Traceback" not in err
    code, _, err = command(
        capsys, "finetune", start, manifest, *options[:-1], tmp_path / "third",
        "--bad-lines", "skip", "--rehearse", manifest, "--rehearse-share", 0.25,
    )  # fmt: skip
    assert code == 0, err
    assert "skipped" in err
    assert "line 25" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--minutes", 1, "--steps", 2], "--minutes or --steps, not both"),
        (["--latencies", 100], "--latencies has 100"),
        (["--rehearse-share", 1], "--rehearse-share is 1"),
        (["--rate", 0], "rate must be above zero"),
        (["--lora", 4000, "--steps", 1], "lora is 4000"),
        (["--processes", 0], "--processes is 0"),
        (["--steps", -1], "minutes or steps"),
        (["--validation", "none.jsonl"], "none.jsonl"),
        (["--max-seconds", 0.1], "longer than 0.1 s"),
    ],
)
def test_bad_options_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[object], says: str
) -> None:
    manifest = tones(tmp_path, 6)
    start = ORACLE / "tiny-multi.nemo"
    common = ["--locale", "nl-NL", "--output", tmp_path / "out", "--device", "cpu"]
    code, _, err = command(capsys, "finetune", start, manifest, *common, *words)
    assert code == 2
    assert says in err
    assert err.count("\n") <= 3


@pytest.mark.parametrize("wer", [[50.0, 60.0, 60.0], [50.0, 60.0, 40.0]])
def test_a_run_that_gained_nothing_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    wer: list[float],
) -> None:  # fmt: skip
    left = iter(wer)
    row = {"locale": "nl-NL", "latency_ms": 80, "clips": 1, "words": 9, "cer": 20.0}
    monkeypatch.setattr("wheatear.train.run.loop.validate", lambda *_: [row | {"wer": next(left)}])
    code, out, err = command(
        capsys, "finetune", ORACLE / "tiny-multi.nemo", tones(tmp_path, 6), "--steps", 2,
        "--locale", "nl-NL", "--output", tmp_path / "out", "--device", "cpu",
    )  # fmt: skip
    assert code == 0, err
    lines = [line for line in out.splitlines() if line.startswith("nothing gained: no validation")]
    assert len(lines) == (min(wer) == wer[0])


def test_a_locale_means_the_nearest_of_the_checkpoint(work: Path) -> None:
    """A regional variety trains the prompt and the tag that it will be recognized with."""
    lines = [json.loads(line) for line in (work / "corpus" / "a.jsonl").read_text().splitlines()]
    given = ["en-AU", "en_us", "de-AT", "en", "fr-BE", "sw-KE"]
    entries = [line | {"lang": given[n % len(given)]} for n, line in enumerate(lines)]
    manifest = work / "corpus" / "regions.jsonl"
    manifest.write_text("\n".join(map(json.dumps, entries)))
    said: list[str] = []
    plan = replace(PLAN, start="wheatear-small", manifests={"a": str(manifest)})
    material = gather(plan, work, said.append)
    assert material.summary()["locales"] == ["de-DE", "en-US", "fr-CA", "sw-KE"]
    assert material.start is not None
    new = set(material.prompts) - set(material.start.prompts)
    assert new == {"sw-KE"}  # a new language has a slot of its own
    assert said == [
        f"language {asked}: {locale} is the nearest that this model has"
        for asked, locale in (("en-AU", "en-US"), ("de-AT", "de-DE"), ("fr-BE", "fr-CA"))
    ]


def test_a_silent_recording_breaks_nothing(work: Path) -> None:
    (work / "corpus" / "a.pcm").write_bytes(bytes((work / "corpus" / "a.pcm").stat().st_size))
    trainer = trainer_of(replace(PLAN, stages=(Stage(1.0, STAGE.recipe, (0,)),)), work)
    run(trainer, 2)
    assert trainer.lost == 0


def test_the_shipped_model_can_be_gone_on_with(work: Path) -> None:
    """By name; its pieces, prompts and terms come along."""
    path = find_checkpoint("wheatear-small")
    trainer = trainer_of(replace(PLAN, start=str(path)), work)
    start = trainer.material.start
    assert start is not None
    assert "CC-BY-SA-4.0" in start.licence
    assert "Maxim Topal" in start.notice
    assert start.prompts["ru-RU"] == 11
    assert (start.config.mel_shift, start.config.mel_scale) == (8.0, 0.25)
    run(trainer, 1)
    assert read_start(trainer.export()).licence == start.licence
