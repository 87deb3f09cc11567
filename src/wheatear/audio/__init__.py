"""Audio from bytes to 16 kHz samples to log-mel frames.

    reader.py           open_audio, AudioReader, AudioLimits, AudioSource
    samples.py, pcm.py  Samples, as_samples; RawFormat, PcmDecoder
    mel.py, vad.py      MelSpectrogram, VoiceActivity

`file_type` and `containers` recognize files and split them into recordings. `decoding` and `ffmpeg`
decode them, and `completeness` reports missing audio. `mixer` and `resampler` convert to mono at
16 kHz.
"""
