"""Train a LoRA or a word on images: check them, loop, save what has been learned so far."""

from labs.finetune.images import check_images, load_images
from labs.finetune.loop import add_word, save_lora, train

__all__ = ["add_word", "check_images", "load_images", "save_lora", "train"]
