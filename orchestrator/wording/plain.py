"""Text as it is printed, whatever a sweep is called: no letter moves the cursor or changes a colour."""


def printable(text: str) -> str:
    """A text on one line; what cannot be shown is escaped, as in `\\x1b[31m`."""
    if text.isprintable():
        return text
    shown = (" " if letter.isspace() else letter for letter in text)
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in shown)


def printable_lines(text: str) -> str:
    """A text of several lines, each as `printable` gives it."""
    return "\n".join(map(printable, text.split("\n")))
