"""The one exception for bad input."""


class InputError(ValueError):
    """Bad input from the user: one line that names the thing, the rule and the remedy.

    Command lines print it after ``error:`` and exit with code 2; nothing has been started.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
