"""What the notebooks teach with: the published claims, the verdicts on them, the exercises."""
