"""Commands that hlbq suggests, with this command's database."""

import re

# Those that take --db. `db copy` names its two databases itself.
_COMMAND = re.compile(
    r"\bhlbq (submit|run|worker|status|show|logs|wait|cancel|pause|unpause|retry|priority|extend|export|plot|report"
    r"|compare|dashboard|sync|notify|code (?:list|diff|checkout|same)|launch (?:slurm|ray)"
    r"|db (?:info|check|backup|upgrade))\b(?! --db)"
)


def naming_database(text: str, database_option: str) -> str:
    """`text` with `database_option` (` --db PATH`, or nothing) after each command of hlbq in it."""
    return _COMMAND.sub(lambda command: command[0] + database_option, text) if database_option else text
