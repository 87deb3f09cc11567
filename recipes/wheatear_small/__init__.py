"""Recipe of the shipped model: corpus, audit, test set, measurements on a bundle."""
