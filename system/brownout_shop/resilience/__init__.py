"""What keeps one service's trouble from becoming another's: breaker, limiter and load balancer."""
