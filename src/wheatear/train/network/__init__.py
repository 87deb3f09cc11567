"""The network in torch: encoder, predictor, joint, loss."""
