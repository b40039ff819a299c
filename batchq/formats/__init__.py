r"""Media types and batches: what a pushed body means, and how a pulled batch is written.

Text, ndjson and octet-stream are the payload byte for byte. JSON (RFC 8259) and
msgpack name each line by itself, so that a line may not hold ``\n`` there.

- ``accept`` negotiates the form of an answer;
- ``bodies`` finds what a body is by its media type;
- ``json_lines`` and ``msgpack_lines`` read and write those two, in short steps (``steps``): such a
  body can hold millions of lines, and other requests go on meanwhile.
"""

from batchq.formats.accept import Form, negotiate
from batchq.formats.bodies import batch_from, body_of, check_type
from batchq.formats.steps import Steps

__all__ = ["Form", "Steps", "batch_from", "body_of", "check_type", "negotiate"]
