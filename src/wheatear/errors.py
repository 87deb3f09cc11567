"""All errors that Wheatear raises on purpose.

    WheatearError
    ├── AudioError (ValueError)               audio that cannot be read or is not audio
    │   └── SpoolError                        no room on disk for audio that must be stored
    ├── LanguageError (ValueError)            a language that the model does not support
    ├── LatencyError (ValueError)             a latency that the model does not support
    ├── PhraseError (ValueError)              a phrase that the model cannot spell
    ├── TextFormatError (ValueError)          an invalid text format
    ├── OptionError (ValueError)              an option with a wrong type or value
    ├── StreamClosedError (RuntimeError)      samples pushed after finish()
    ├── OverloadedError (RuntimeError)        more streams than the machine can run
    ├── MissingExtraError (ImportError)       an optional dependency is not installed
    ├── CorpusError (ValueError)              training data that is invalid or not allowed
    ├── ManifestError (ValueError)            a manifest with invalid lines
    ├── PlanError (ValueError)                an invalid training plan
    ├── SettingsError (ValueError)            invalid settings or keys of a server
    ├── BenchError (RuntimeError)             a measurement that cannot be made
    └── ModelError
        ├── ModelNotFoundError (FileNotFoundError)
        ├── BundleError (ValueError)          a bundle that is damaged or incomplete
        ├── CheckpointError (ValueError)      a checkpoint that cannot be converted
        └── DownloadError (OSError)           a model that cannot be fetched

    AudioTruncatedWarning (UserWarning)       audio that is cut off or damaged

Each message names the thing, the fault and the remedy. The command line prints only the message.
"""

MALFORMED = (
    ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError,
)  # fmt: skip
"""Errors that Python raises when values in a file have unexpected types."""


class WheatearError(Exception):
    """Base class of errors whose message is meant for the user."""


class AudioError(WheatearError, ValueError):
    """Audio that cannot be decoded, or samples that cannot be transcribed."""


class SpoolError(AudioError):
    """No room on disk for audio that must be stored before decoding."""


class AudioTruncatedWarning(UserWarning):
    """A file is cut off or damaged; the readable part was transcribed."""


class LanguageError(WheatearError, ValueError):
    """A language that is missing from the model's prompt dictionary."""


class LatencyError(WheatearError, ValueError):
    """A latency that the model's attention context does not allow."""


class PhraseError(WheatearError, ValueError):
    """A boosted phrase that is empty, or that the model's pieces cannot spell."""


class TextFormatError(WheatearError, ValueError):
    """An invalid text format, such as a masked word with spaces."""


class OptionError(WheatearError, ValueError):
    """An option with a wrong type or value; the message names it."""


class StreamClosedError(WheatearError, RuntimeError):
    """Samples were pushed into a finished stream."""


class OverloadedError(WheatearError, RuntimeError):
    """A stream was rejected because running streams use the whole machine."""


class MissingExtraError(WheatearError, ImportError):
    """A command needs an optional dependency; the message names the extra to install."""


class CorpusError(WheatearError, ValueError):
    """Training data that cannot be built, or whose license does not allow training."""


class ManifestError(WheatearError, ValueError):
    """A manifest with invalid lines; the message names file and line."""


class PlanError(WheatearError, ValueError):
    """An invalid training plan; the message names the entry."""


class SettingsError(WheatearError, ValueError):
    """Unknown or invalid settings or keys of a server; the message names them."""


class BenchError(WheatearError, RuntimeError):
    """A measurement that cannot be made or was interrupted."""


class ModelError(WheatearError):
    """Base class of errors about models."""


class ModelNotFoundError(ModelError, FileNotFoundError):
    """No model with this name or at this path."""


class BundleError(ModelError, ValueError):
    """A bundle that is damaged, incomplete or written by a newer version."""


class CheckpointError(ModelError, ValueError):
    """A checkpoint that is unsafe, incomplete or of an unsupported architecture."""


class DownloadError(ModelError, OSError):
    """A model that cannot be downloaded: no network, room or permission, or a wrong hash."""
