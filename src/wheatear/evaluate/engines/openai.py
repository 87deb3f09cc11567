"""A server with OpenAI's transcription API; the key comes from OPENAI_API_KEY."""

import io
import json
import os
import secrets
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import soundfile

from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.samples import Samples
from wheatear.errors import WheatearError
from wheatear.evaluate.engines.engine import Engine, EngineInfo, Hypothesis
from wheatear.model.locales import language_of

_TIMEOUT_S = 300


class OpenAi(Engine):
    """A model behind a URL. Its times include the network."""

    detects = True

    def __init__(self, where: str, threads: int) -> None:
        base, _, model = where.partition("#")
        if not base.startswith(("http://", "https://")):
            raise WheatearError(f"{base!r} is no URL: give openai:http://127.0.0.1:8000/v1#MODEL")
        self._url = f"{base.rstrip('/')}/audio/transcriptions"
        self._model = model or "whisper-1"
        self.name = f"{self._model} at {base}"
        self.info = EngineInfo("openai", fingerprint=where)

    def language_for(self, locale: str) -> str | None:
        return language_of(locale)

    def transcribe(self, samples: Samples, locale: str | None) -> Hypothesis:
        fields = {"model": self._model}
        fields |= {"language": locale} if locale else {"response_format": "verbose_json"}
        found = self._post(fields, samples)
        return Hypothesis(
            str(found.get("text", "")).strip(), None if locale else found.get("language")
        )

    def _post(self, fields: dict[str, str], samples: Samples) -> dict[str, Any]:
        """Raises WheatearError with the answer of the server."""
        kind, body = _form(fields, samples)
        headers = {"Content-Type": kind}
        if key := os.environ.get("OPENAI_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        request = Request(self._url, body, headers)  # noqa: S310  (http or https, as checked)
        try:
            with urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
                found = json.load(answer)
        except HTTPError as error:
            answer = error.read(500).decode(errors="replace")
            raise WheatearError(f"{self._url} answered {error.code}: {answer}") from error
        except (URLError, TimeoutError, ValueError) as error:
            raise WheatearError(f"{self._url} cannot be used: {error}") from error
        if not isinstance(found, dict):
            raise WheatearError(f"{self._url} answered {type(found).__name__}, not an object")
        return found


def _form(fields: dict[str, str], samples: Samples) -> tuple[str, bytes]:
    """Content type and body of a multipart form with the samples as a WAV file."""
    wav = io.BytesIO()
    soundfile.write(wav, samples, SAMPLE_RATE, "PCM_16", format="WAV")
    mark = secrets.token_hex(16)
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="audio.wav"\r\n'
    parts += [f"{head}Content-Type: audio/wav\r\n\r\n".encode(), wav.getvalue(), b"\r\n"]
    return f"multipart/form-data; boundary={mark}", b"".join([*parts, f"--{mark}--\r\n".encode()])
