"""The process that decodes images for `image_process`: reads them from stdin, answers on stdout.

It imports Pillow and nothing else, so that it starts in a tenth of a second and is small.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys

from beam_jobs.images.image_check import Limits, Rejected, check

REQUEST = struct.Struct("<Q")
"""Length of the image, then the image."""
ANSWER = struct.Struct("<BIIQ")
"""One of the statuses below, width, height, length of what follows."""
KEEP, ENCODED, REJECTED = range(3)


def main() -> None:
    """Answer until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the job, which closes stdin
    limits = Limits(**json.loads(sys.argv[1]))
    questions = sys.stdin.buffer
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=1 << 20)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a decoder prints is no answer
    while header := questions.read(REQUEST.size):
        (length,) = REQUEST.unpack(header)
        data = questions.read(length)
        try:
            checked = check(data, limits)
        except Rejected as rejected:
            text = f"{rejected.reason.value} {rejected.detail}".encode()
            answers.write(ANSWER.pack(REJECTED, 0, 0, len(text)) + text)
        else:
            payload = checked.encoded or b""
            status = KEEP if checked.encoded is None else ENCODED
            answers.write(ANSWER.pack(status, checked.width, checked.height, len(payload)))
            answers.write(payload)
        answers.flush()


if __name__ == "__main__":
    main()
