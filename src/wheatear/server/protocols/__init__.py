"""One file a wire protocol; no protocol imports another."""
