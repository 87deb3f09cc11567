"""Every error Wheatear raises on purpose.

    WheatearError
    ├── AudioError (ValueError)               audio that cannot be read or is not audio
    │   └── SpoolError                        no room on disk for audio that has to lie there
    ├── LanguageError (ValueError)            a language the model does not know
    ├── LatencyError (ValueError)             a latency the model cannot run at
    ├── PhraseError (ValueError)              a phrase that the model cannot write
    ├── FormError (ValueError)                a form that no text can be written in
    ├── OptionError (ValueError)              an option of the wrong type, or that makes no sense
    ├── StreamClosedError (RuntimeError)      samples pushed after finish()
    ├── OverloadedError (RuntimeError)        more streams than this machine can keep up with
    ├── MissingExtraError (ImportError)       an optional dependency is not installed
    ├── CorpusError (ValueError)              training data that cannot or must not be built
    ├── ManifestError (ValueError)            a manifest with lines that cannot be used
    ├── PlanError (ValueError)                a training plan that makes no sense
    ├── SettingsError (ValueError)            settings or keys of a server that make no sense
    ├── BenchError (RuntimeError)             a measurement that cannot be taken as asked
    └── ModelError
        ├── ModelNotFoundError (FileNotFoundError)
        ├── BundleError (ValueError)          a bundle that is damaged or incomplete
        ├── CheckpointError (ValueError)      a checkpoint that cannot be converted
        └── DownloadError (OSError)           a model that cannot be fetched

    AudioTruncatedWarning (UserWarning)       audio that is cut off or damaged, and was read

Each message says what was wrong, with what, and what to do about it; the command line
prints the message and nothing else.
"""

MALFORMED = (
    ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError,
)  # fmt: skip
"""The errors that Python raises for values of a file that are not of the expected kind."""


class WheatearError(Exception):
    """Base of all errors that are meant for the user rather than for the developer."""


class AudioError(WheatearError, ValueError):
    """Audio that cannot be decoded, or samples of a kind that cannot be transcribed."""


class SpoolError(AudioError):
    """Audio that has to lie on disk to be decoded, where there is no room for it."""


class AudioTruncatedWarning(UserWarning):
    """A file is cut off or damaged; what was there has been transcribed."""


class LanguageError(WheatearError, ValueError):
    """A language that the model's own prompt dictionary does not hold."""


class LatencyError(WheatearError, ValueError):
    """A latency that the model's attention context does not allow."""


class PhraseError(WheatearError, ValueError):
    """A phrase to listen for that is empty, or that the model's pieces cannot write."""


class FormError(WheatearError, ValueError):
    """A form of text that makes no sense, such as masking what is no word."""


class OptionError(WheatearError, ValueError):
    """An option of a call that has the wrong type or makes no sense; the message names it."""


class StreamClosedError(WheatearError, RuntimeError):
    """Samples were pushed into a stream that has been finished."""


class OverloadedError(WheatearError, RuntimeError):
    """A stream was refused because those that are there need all that the machine can do."""


class MissingExtraError(WheatearError, ImportError):
    """A command needs an optional dependency; the message names the extra to install."""


class CorpusError(WheatearError, ValueError):
    """Training data that cannot be built as asked, or that must not be trained on."""


class ManifestError(WheatearError, ValueError):
    """A manifest with lines that cannot be used; the message names file and line."""


class PlanError(WheatearError, ValueError):
    """A training plan that cannot be followed; the message names the entry."""


class SettingsError(WheatearError, ValueError):
    """Settings or keys of a server that are unknown or make no sense; the message names them."""


class BenchError(WheatearError, RuntimeError):
    """A measurement that cannot be taken as asked, or that broke off."""


class ModelError(WheatearError):
    """Base of everything that can be wrong with a model."""


class ModelNotFoundError(ModelError, FileNotFoundError):
    """No bundle of that name or at that path."""


class BundleError(ModelError, ValueError):
    """A bundle that is damaged, incomplete or made by a newer Wheatear."""


class CheckpointError(ModelError, ValueError):
    """A checkpoint that is unsafe, incomplete or of an architecture we do not run."""


class DownloadError(ModelError, OSError):
    """A model that cannot be fetched: no network, no room, no permission, or other bytes than
    were promised."""
