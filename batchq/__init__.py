"""batchq: multiline batches through named queues, over HTTP/2."""
