"""Other engines than PyTorch to draw with: what the extra named `fast` installs."""
