"""What if a recogniser's process behaves so? Its argument says how; phrases of as many letters as it was told score."""

import os
import sys
import time

from zvonar.speech.recognition import wire
from zvonar.speech.recognition.wire import Failed, Ready, Score, Scores, Segment, Transcribe, Transcribed


def main() -> None:
    behaviour = sys.argv[1]
    out = sys.stdout.buffer
    if behaviour == "never":
        time.sleep(600)
    if behaviour == "stranger":
        out.write(b"HTTP/1.1 200 OK\r\n\r\n" * 10)
        out.flush()
        time.sleep(600)
    out.write(wire.framed(Ready()))
    out.flush()
    while head := sys.stdin.buffer.read(wire.HEAD):
        request = wire.decode_request(sys.stdin.buffer.read(wire.length(head)))
        said = request.pcm.decode(errors="replace")
        if said == "hang":
            time.sleep(600)
        if said == "die":
            os._exit(1)
        if said == "babble":
            out.write(b"\xff" * 64)
        elif said == "fail":
            out.write(wire.framed(Failed(error="ValueError")))
        elif isinstance(request, Score):
            known = {said: 4.5, "who are you": float(os.getpid())}
            out.write(wire.framed(Scores(scores=[known.get(phrase, -2.0) for phrase in request.phrases])))
        elif isinstance(request, Transcribe):
            out.write(wire.framed(Transcribed(segments=[Segment(start=0.0, end=1.0, text=said)])))
        out.flush()


if __name__ == "__main__":
    main()
