"""The command line: one file per verb, found by name and imported only when it is the one asked for.

Exit codes: 0 for success, 2 for a mistake the user can mend (one sentence on stderr), 130 for Ctrl-C. Anything else
is our bug and shows its traceback.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence

from rilievo import __version__
from rilievo.errors import UserError, clear

VERBS = {
    "demo": "a small built-in capture to mesh, turntable video and metrics, in minutes on a CPU",
    "align": "cameras and points from photographs or a video: rilievo align PHOTOS -o SCENE",
    "reconstruct": "photographs or a video to a mesh in one go: align, fit, mesh",
    "fit": "learn a scene from posed photographs: rilievo fit METHOD SCENE -o RUN",
    "mesh": "the surface of a run, in the frame of its capture",
    "render": "pictures or a video of a run, along a camera path",
    "relight": "a run of nero-material under the light of a panorama",
    "evaluate": "image metrics of a run on held-out photographs, or of a mesh against a reference",
    "view": "look at a run or a capture in the browser, on this machine only",
    "convert": "a capture in another layout: colmap, nerfstudio or blender",
    "doctor": "what works on this machine, and how to get what does not",
}

RESUMABLE = {
    "fit": "; the same command with --resume goes on from the last checkpoint",
    "demo": "; the same command goes on from where it was",
    "align": "; the same command goes on from where it was",
    "reconstruct": "; the same command goes on from where it was",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code; `argv` leaves out the program's name."""
    argv = list(sys.argv[1:] if argv is None else argv)
    # Read once, when torch loads OpenMP: threads that wait asleep lose little on an idle machine and, where another
    # program has taken a core, save most of the time that spinning would waste.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        _dispatch(argv)
        sys.stdout.flush()
    except UserError as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted" + RESUMABLE.get(argv[0], ""), file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, `head` perhaps, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0


def _dispatch(argv: list[str]) -> None:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(overview())
    elif argv[0] == "--version":
        print(__version__)
    elif argv[0] in VERBS:
        importlib.import_module(f"rilievo.cli.{argv[0]}").command(argv[1:])
    else:
        near = difflib.get_close_matches(argv[0], VERBS, n=1)
        raise clear(
            "verb",
            expected="one of " + ", ".join(VERBS),
            got=repr(argv[0]),
            do=f"did you mean `rilievo {near[0]}`?" if near else "see `rilievo --help`",
        )


def overview() -> str:
    """What `rilievo --help` says."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in VERBS.items())
    return (
        "usage: rilievo VERB [--help] …\n\n"
        "Photographs into cameras and surfaces.\n\n"
        f"{verbs}\n\n"
        "`rilievo VERB --help` lists a verb's options; `rilievo demo` needs nothing but time."
    )
