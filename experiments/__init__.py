"""Experiments: one module per system, run as `python -m experiments.NAME`."""

import signal
import sys

if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # `python -m` is looking for the module that it will run: until that has its own answer to Ctrl-C, a traceback
    # through half-imported packages would be of no use to anybody
    signal.signal(signal.SIGINT, signal.SIG_DFL)
