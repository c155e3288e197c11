"""In which language the course speaks: messages/LANGUAGE.json has its texts by English.

A text may have {fields}, as an f-string has; what stands in them is translated too.
"""

import json
import os
import re
from functools import cache
from pathlib import Path

MESSAGES = Path(__file__).parents[1] / "messages"
FIELD = re.compile(r"\{.*?\}")


def language(default: str = "en") -> str:
    """D2LMINI_LANGUAGE, or that of the folder notebooks-LANGUAGE, or default."""
    folders = re.findall(r"\bnotebooks-(\w+)", os.getcwd())
    return os.environ.get("D2LMINI_LANGUAGE") or (folders or [default])[-1]


@cache
def catalogue(language: str) -> dict[str, str]:
    """The translations by their English, those with the most own letters first."""
    file = MESSAGES / f"{language}.json"
    texts = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    own = {text: len(FIELD.sub("", text)) for text in texts}
    return {text: texts[text] for text in sorted(texts, key=own.get, reverse=True)}


def translated(text: str, language: str) -> str:
    """text in language, as far as its catalogue has it."""
    for known, translation in catalogue(language).items():
        pattern = "(.+)".join(map(re.escape, FIELD.split(known)))
        if found := re.fullmatch(pattern, text, re.DOTALL):
            for field, value in zip(FIELD.findall(known), found.groups(), strict=True):
                translation = translation.replace(field, translated(value, language))
            return translation
    return text


def say(text: str, **values: str) -> str:
    """text with values in its fields, all in the language of here and now."""
    here = language()
    values = {name: translated(value, here) for name, value in values.items()}
    text = translated(text, here)
    return text.format(**values) if values else text  # which may have braces
