"""Policies over the network, as openpi serves them: websocket, msgpack, numpy arrays."""
