"""What each cure of the HTTP/2 side gives: the same load with it and without it, in turn.

`serve` is the server's process, `load` the driver's; `rows` says what is measured how, and
`page` writes it down.
"""
