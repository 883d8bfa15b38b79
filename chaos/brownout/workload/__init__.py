"""Load: arrivals at their due times, and the driver that turns a journey's requests into HTTP."""
