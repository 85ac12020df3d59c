"""Build what a wheel ships: `python -m algorithms.kernels.prebuild`. Torch-free.

One file per level of x86-64. A compiler that cannot make them leaves the wheel without: the library
is then built where it is used.
"""

import sys
from pathlib import Path

from algorithms.kernels import compiler
from algorithms.kernels.compiler import Unavailable


def build(folder: Path) -> list[Path]:
    """Build a file for every level into a folder that is emptied first; return those made."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.so"):
        old.unlink()
    made = []
    for level in compiler.LEVELS:
        path = folder / compiler.shipped_name(level)
        try:
            flags = (*compiler.FLAGS, f"-march={level}")
            compiler.compile_to(path, compiler.find_compiler(), flags)
        except Unavailable as reason:
            path.unlink(missing_ok=True)
            print(f"no kernels for {level}: {reason}", file=sys.stderr)
        else:
            made.append(path)
    return made


if __name__ == "__main__":
    for path in build(compiler.SHIPPED):
        print(path)
