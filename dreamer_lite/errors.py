"""Bad input, reported in one line."""


class Refused(ValueError):
    """The user's input cannot work. The message is one line: what was given, what is accepted, what to do."""


def first_line(error: Exception, most: int = 100) -> str:
    """The first line of an error's message, or its type if it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0][:most]
