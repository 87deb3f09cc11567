"""How the shipped model was made: corpus, audit, test set, measurements."""
