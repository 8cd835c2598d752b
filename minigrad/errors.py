"""Errors that a person can act on."""


class InputError(ValueError):
    """Something that was given (an option, a file, a shape, a number) is impossible.

    The message is one line that names the cause and the way out; the command line prints it and exits with code 2.
    """
