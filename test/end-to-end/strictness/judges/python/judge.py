"""Judges OTLP trace requests with upb, the C++ implementation below Python's protobuf.

Each request on standard input comes after its length, 4 bytes, big endian. For each that is refused there is a line on
standard output: the request's number, a tab, who refuses it, a tab, and why.
"""

import itertools
import sys

from google.protobuf.internal import api_implementation
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

# protobuf falls back to pure Python without a word.
assert api_implementation.Type() == "upb", api_implementation.Type()

for number in itertools.count():
    header = sys.stdin.buffer.read(4)
    if not header:
        break
    request = sys.stdin.buffer.read(int.from_bytes(header, "big"))
    try:
        ExportTraceServiceRequest.FromString(request)
    except DecodeError as error:
        print(number, "upb", str(error).replace("\n", " "), sep="\t")
