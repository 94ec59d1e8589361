"""Faust agents: take a batch, fold it, hand the effects to the sink."""
