"""What a service tells about itself: traces, metrics, health."""
