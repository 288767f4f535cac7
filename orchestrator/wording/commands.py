"""Commands of hlbq that messages suggest."""

import re
import shlex

# Those that take --db. `db copy` names its two databases itself.
_COMMAND = re.compile(
    r"\bhlbq (submit|run|worker|status|show|logs|wait|cancel|pause|unpause|retry|priority|delete|rename|note|tag|extend"
    r"|export|plot|report|compare|decide|search|dashboard|code (?:list|diff|checkout|same)|sync|notify"
    r"|launch (?:slurm|ray)|generate|export-model|db (?:info|check|backup|upgrade)|doctor)(?![\w-])(?! --db[ =])"
)


def database_option(place: str) -> str:
    """What a command needs to find the database at `place` again, for a shell."""
    # A file's name that begins with a dash would be read as an option.
    return f" --db={shlex.quote(place)}" if place.startswith("-") else f" --db {shlex.quote(place)}"


def naming_database(text: str, database_option: str) -> str:
    """`text` with `database_option` (` --db PATH`, or nothing) after each command of hlbq in it."""
    return _COMMAND.sub(lambda command: command[0] + database_option, text) if database_option else text
