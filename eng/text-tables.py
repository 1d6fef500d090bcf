#!/usr/bin/env python3
"""Writes the tables of OpenElm.Tokenization.TextCleanup from the data that Python carries (Unicode, HTML5).

    python3.13 eng/text-tables.py src/OpenElm/Tokenization/Tables

canonical.txt   "D C8 41 300" full canonical decomposition, "P 41 300 C0" composition of a pair, "K 300 314 E6" combining class of a range
width.txt       "FF01 21"     full-width and half-width forms and what they stand for
entities.txt    "eacute; E9"  names of HTML5 that end in a semicolon, and names in capitals where that is unambiguous
Hangul syllables are left out: they are composed by arithmetic.
"""
import html
import html.entities
import sys
import unicodedata
from pathlib import Path

folder = Path(sys.argv[1])


def codes(text):
    return " ".join(f"{ord(c):X}" for c in text)


def characters():
    return (chr(i) for i in range(0x110000) if not 0xD800 <= i <= 0xDFFF and not 0xAC00 <= i <= 0xD7A3)


def write(name, first, lines):
    (folder / name).write_text("\n".join([first, *lines]) + "\n", encoding="ascii")


decompositions, pairs = [], []
for c in characters():
    nfd = unicodedata.normalize("NFD", c)
    if nfd != c:
        decompositions.append(f"D {codes(c)} {codes(nfd)}")
        single = unicodedata.decomposition(c).split()
        if len(single) == 2:
            a, b = (chr(int(x, 16)) for x in single)
            if unicodedata.normalize("NFC", a + b) == c:
                pairs.append(f"P {codes(a)} {codes(b)} {codes(c)}")

classes, run = [], None
for i in range(0x110000):
    k = unicodedata.combining(chr(i))
    if run and run[2] == k and run[1] == i - 1:
        run[1] = i
    else:
        if run:
            classes.append("K {:X} {:X} {:X}".format(*run))
        run = [i, i, k] if k else None
write("canonical.txt", f"# Unicode {unicodedata.unidata_version}; written by eng/text-tables.py", decompositions + pairs + classes)

width = [f"{i:X} {codes(k)}" for i in range(0xFF01, 0xFFF0) if (k := unicodedata.normalize("NFKC", chr(i))) != chr(i)]
write("width.txt", "# half-width and full-width forms; written by eng/text-tables.py", ["3000 20", *width])

entities = {}
for name, text in html.entities.html5.items():
    if name.endswith(";"):
        entities[name] = text
for name, text in html.entities.html5.items():
    capitals = "&" + name.upper()
    if name.endswith(";") and name == name.lower() and html.unescape(capitals) == capitals:
        entities[name.upper()] = text.upper()
write("entities.txt", "# HTML5 character names; written by eng/text-tables.py", [f"{n} {codes(t)}" for n, t in sorted(entities.items())])
