package main

import (
	"context"
	"errors"
	"sync"
	"time"
)

var errLimited = errors.New("rate limit exceeded")

// limiter is a token bucket on which calls wait, with the semantics of x/time/rate.
type limiter struct {
	mu     sync.Mutex
	rate   float64
	burst  float64
	tokens float64
	last   time.Time
}

func newLimiter(rate, burst float64) *limiter {
	return &limiter{rate: rate, burst: burst, tokens: burst, last: time.Now()}
}

// wait returns when a token is there, or at once when the context ends before that.
func (l *limiter) wait(ctx context.Context) error {
	until, granted := l.reserve(ctx)
	if !granted {
		return errLimited
	}
	select {
	case <-time.After(time.Until(until)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *limiter) reserve(ctx context.Context) (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.tokens = min(l.burst, l.tokens+now.Sub(l.last).Seconds()*l.rate)
	l.last = now
	until := now.Add(time.Duration(max(0, 1-l.tokens) / l.rate * float64(time.Second)))
	if deadline, ok := ctx.Deadline(); ok && until.After(deadline) {
		return until, false
	}
	l.tokens--
	return until, true
}
