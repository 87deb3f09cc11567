"""Audio from bytes to 16 kHz samples to log-mel frames.

    reader.py           open_audio, AudioReader, AudioLimits, AudioSource
    samples.py, pcm.py  Samples, as_samples; RawFormat, PcmDecoder
    mel.py, vad.py      MelSpectrogram, VoiceActivity

`file_type` and `containers` recognize files and cut them into recordings, `decoding` and `ffmpeg`
decode them, `completeness` accounts for what is missing, `mixer` and `resampler` convert to mono
at 16 kHz.
"""
