#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the page's files as C++: embed.py OUTPUT.cpp FILE..."""

import os
import sys

TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
         ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
WIDTH = 24


def main(output, *files):
    parts, rows = [], []
    for number, name in enumerate(files):
        with open(name, "rb") as file:
            content = file.read()
        lines = [content[at:at + WIDTH] for at in range(0, len(content), WIDTH)]
        text = "\n".join("    " + ",".join(f"{byte:#x}" for byte in line) + "," for line in lines)
        parts.append(f"const unsigned char file_{number}[] = {{\n{text}\n}};")
        base, extension = os.path.splitext(os.path.basename(name))
        path = "/" if extension == ".html" else f"/{base}{extension}"
        rows.append(f'    {{"{path}", "{TYPES[extension]}", text(file_{number})}},')
    with open(output, "w", encoding="ascii") as file:
        file.write(
            '// Made by embed.py.\n#include "host-controller/page/page.h"\n\nnamespace acma::host {\nnamespace {\n'
            + "\n".join(parts)
            + "\ntemplate <unsigned long N>\nstd::string_view text(const unsigned char (&bytes)[N]) {\n"
            + "    return {reinterpret_cast<const char*>(bytes), N};\n}\n"
            + "const PageFile files[] = {\n" + "\n".join(rows) + "\n};\n}  // namespace\n"
            + "std::span<const PageFile> page_files() {\n    return files;\n}\n}  // namespace acma::host\n"
        )


main(*sys.argv[1:])
