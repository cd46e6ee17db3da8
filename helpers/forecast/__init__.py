"""What a run would take, told without a run: the shapes of a model, its bytes."""
