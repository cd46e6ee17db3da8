"""Draw faster than PyTorch alone: another engine, and weights for few steps."""
