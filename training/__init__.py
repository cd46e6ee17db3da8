"""How the embedded models were made: drawings, captions, training, evaluation."""
