#!/usr/bin/python3
"""Writes a git fast-import stream: one repository of a given size and age.

usage: data.py FILES COMMITS SEED [PATH=URL=COMMIT ...]

The same words give the same bytes. Each commit after the first changes one
file; the last one adds the submodules that are named.
"""
import random
import sys

files, commits, seed = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
modules = [m.split("=") for m in sys.argv[4:]]
rng = random.Random(seed)
out = sys.stdout.buffer


def data(b):
    out.write(b"data %d\n%s\n" % (len(b), b))


def blob():
    # Source code is about 4 KiB a file, and compresses about as words do.
    words = [b"%x" % rng.getrandbits(24) for _ in range(rng.randint(20, 900))]
    return b" ".join(words) + b"\n"


def path(i):
    return b"d%02d/e%02d/f%05d.txt" % (i % 40, i // 40 % 40, i)


def commit(n, text, changes):
    out.write(b"commit refs/heads/main\ncommitter Bench <bench@example.com> %d +0000\n" % (1700000000 + n))
    data(text)
    for p, b in changes:
        out.write(b"M 100644 inline %s\n" % p)
        data(b)


commit(0, b"Start", [(path(i), blob()) for i in range(files)])
for n in range(1, commits):
    commit(n, b"Change %d" % n, [(path(rng.randrange(files)), blob())])
if modules:
    text = b"".join(
        b'[submodule "%s"]\n\tpath = %s\n\turl = %s\n' % (p.encode(), p.encode(), u.encode()) for p, u, _ in modules
    )
    commit(commits, b"Add submodules", [(b".gitmodules", text)])
    for p, _, c in modules:
        out.write(b"M 160000 %s %s\n" % (c.encode(), p.encode()))
out.write(b"done\n")
