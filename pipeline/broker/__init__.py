"""The broker edge: the Faust app, the batch transport, security, topics, the embedded broker."""
