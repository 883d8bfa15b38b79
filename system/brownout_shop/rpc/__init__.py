"""What services offer each other by gRPC (clause 3.2)."""
