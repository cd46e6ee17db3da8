"""Train a LoRA or a word on images: check them, loop, save what has been learned so far."""

from labs.finetune.images import check_images, load_images
from labs.finetune.loop import save_lora, train

__all__ = ["check_images", "load_images", "save_lora", "train"]
