"""What `make` calls: the check, the page, Colab's cells, the site."""
