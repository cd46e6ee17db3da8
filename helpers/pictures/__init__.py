"""A picture and the settings that made it: kept in its PNG, described, varied, drawn again."""
