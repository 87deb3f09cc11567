"""OpenAI's SDK as a client of a server, for the sample recording."""

import json

from server_process import SAMPLE

SPOKEN = "sorry"


def transcribe(client, **options):
    return client.audio.transcriptions.create(file=SAMPLE, model="whisper-1", **options)


def raw(client, **options):
    """The JSON of the answer, as the server sent it."""
    with_raw = client.audio.transcriptions.with_raw_response
    return json.loads(with_raw.create(file=SAMPLE, model="whisper-1", **options).text)
