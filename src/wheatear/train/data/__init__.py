"""Training data: manifests, batches, augmentation, tokenizer."""
