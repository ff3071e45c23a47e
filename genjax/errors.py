"""The one exception for what a user can put right."""


class BadInput(ValueError):
    """One line that says what is wrong, what was seen and what would be right; experiments exit with status 2."""
