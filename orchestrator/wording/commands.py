"""Commands of hlbq that messages suggest."""

import re

# Those that take --db. `db copy` names its two databases itself.
_COMMAND = re.compile(
    r"\bhlbq (submit|run|worker|status|show|logs|wait|cancel|pause|unpause|retry|priority|delete|rename|note|tag|extend"
    r"|export|plot|report|compare|decide|search|dashboard|code (?:list|diff|checkout|same)|sync|notify"
    r"|launch (?:slurm|ray)|generate|export-model|db (?:info|check|backup|upgrade)|doctor)(?![\w-])(?! --db)"
)


def naming_database(text: str, database_option: str) -> str:
    """`text` with `database_option` (` --db PATH`, or nothing) after each command of hlbq in it."""
    return _COMMAND.sub(lambda command: command[0] + database_option, text) if database_option else text
