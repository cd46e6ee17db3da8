"""What a run would take, told without a run: its bytes, its seconds, its price."""
