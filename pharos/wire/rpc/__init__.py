"""gRPC on Trio: grpclib's stubs and streams over an HTTP/2 engine of our own (docs/protocols/rpc.md)."""
