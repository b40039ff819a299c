"""Where queues are kept. ``base`` is the contract; each other module is one store."""
