package main

import (
	"errors"
	"sync"
	"time"
)

var errOpen = errors.New("circuit breaker is open")

// settings of a breaker, as the contract has them; the last two are of a breaker that is broken on purpose.
type settings struct {
	requests    int
	ratio       float64
	interval    time.Duration
	open        time.Duration
	trial       int
	closesAfter int
	leaks       bool
}

// breaker has the semantics of sony/gobreaker: counts that start anew after an interval, and results that outlive
// their counts are dropped.
type breaker struct {
	settings
	mu                            sync.Mutex
	state                         string
	requests, failures, successes int
	generation                    int
	expires                       time.Time
}

func newBreaker(with settings) *breaker {
	b := &breaker{settings: with}
	b.begin("closed", time.Now())
	return b
}

// call does something unless the breaker refuses it.
func (b *breaker) call(do func() error) error {
	generation, admitted := b.admit(time.Now())
	if !admitted {
		if b.leaks {
			do()
		}
		return errOpen
	}
	err := do()
	b.done(generation, err == nil, time.Now())
	return err
}

func (b *breaker) admit(now time.Time) (int, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.age(now)
	if b.state == "open" || b.state == "half-open" && b.requests >= b.trial {
		return 0, false
	}
	b.requests++
	return b.generation, true
}

func (b *breaker) done(generation int, ok bool, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.age(now)
	if generation != b.generation {
		return
	}
	if ok {
		b.successes++
		if b.state == "half-open" && b.successes >= b.closesAfter {
			b.begin("closed", now)
		}
		return
	}
	b.failures++
	trips := b.requests >= b.settings.requests && float64(b.failures) >= b.ratio*float64(b.requests)
	if b.state == "half-open" || trips {
		b.begin("open", now)
	}
}

// age begins what is due: new counts while closed, the trial when the open time is over.
func (b *breaker) age(now time.Time) {
	if b.state == "half-open" || now.Before(b.expires) {
		return
	}
	if b.state == "open" {
		b.begin("half-open", now)
	} else {
		b.begin("closed", now)
	}
}

func (b *breaker) begin(state string, now time.Time) {
	b.state, b.requests, b.failures, b.successes = state, 0, 0, 0
	b.generation++
	lasts := map[string]time.Duration{"closed": b.interval, "open": b.open}
	b.expires = now.Add(lasts[state])
}
