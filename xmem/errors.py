"""The one exception that users cause."""


class InputError(Exception):
    """Something the user gave cannot be used; the message is one sentence that says what is wrong and what to do."""
