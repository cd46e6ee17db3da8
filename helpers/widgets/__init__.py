"""The playground: prompts and seeds under your fingers, as a widget."""
