"""What only those need who keep the tutorial: Colab's first cell, the benchmark."""
