#!/usr/bin/env bash
# A pickled array of NumPy comes in three shapes by protocol, and at protocol 2 its bytes are text.
#
# The CIFAR files are pickles of protocol 2. An array written so by Python 3 holds its bytes as a text in Latin-1, with a call of
# `_codecs.encode` that turns it back; from protocol 3 it holds bytes, through `_reconstruct` of `numpy._core.multiarray`; at
# protocol 5 through another function, `_frombuffer` of `numpy._core.numeric`, which takes a bytearray. A reader that allows
# the names of one of them by a list refuses, or misreads, the others. Seen with numpy 2.4.6, Python 3.11.
#
# For us: the reader of pickles builds arrays from all three and calls nothing (`ebm-data/src/arrays/pickle`).
source "$(dirname "$0")/lib.sh"
packages python3 numpy==2.4.6
python - <<'P'
import pickle
import pickletools

import numpy


def named(protocol):
    ops = list(pickletools.genops(pickle.dumps(numpy.arange(4, dtype="u1"), protocol=protocol)))
    texts = [str(arg) for op, arg, _ in ops if arg is not None]
    holds = [op.name for op, arg, _ in ops if arg in ("\0\1\2\3", b"\0\1\2\3")]
    calls = [c for c in ("_codecs encode", "_reconstruct", "_frombuffer") if any(c in t for t in texts)]
    return calls, holds


for protocol in (2, 3, 4, 5):
    print(protocol, *named(protocol))
assert named(2) == (["_codecs encode", "_reconstruct"], ["BINUNICODE"]), "this has changed"
assert named(4) == (["_reconstruct"], ["SHORT_BINBYTES"]), "this has changed"
assert named(5) == (["_frombuffer"], ["BYTEARRAY8"]), "this has changed"
P
