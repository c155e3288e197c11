"""A notebook as text, for `git diff`: python tools/notebook_text.py NOTEBOOK

Sources and what the cells printed, as they are; of a picture its title and a sum that
tells whether it changed. Needs nothing but Python. CONTRIBUTING.md says how to use it.
"""

import json
import re
import sys
import zlib


def output_text(output: dict) -> str:
    """An output of a cell in one of the forms that a person can read."""
    if "text" in output:
        return "".join(output["text"])
    if "data" not in output:
        return f"{output['ename']}: {output['evalue']}"
    svg = "".join(output["data"].get("image/svg+xml", ""))
    if svg:
        title = re.search("<title>(.*?)</title>", svg, re.DOTALL)
        return f"[picture {title[1] if title else ''} {zlib.crc32(svg.encode()):08x}]"
    data = output["data"]
    return "".join(data.get("text/markdown", data.get("text/plain", "")))


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")
    with open(sys.argv[1], encoding="utf-8") as file:
        notebook = json.load(file)
    for cell in notebook["cells"]:
        print(f"\n---- {cell['cell_type']}", json.dumps(cell["metadata"]))
        print("".join(cell["source"]))
        for output in cell.get("outputs", []):
            print("---- output")
            print(output_text(output).rstrip("\n"))
