// A second, tiny system: a front that asks stock and prices. It knows nothing of what breaks it, and tells nothing of
// itself but its answers: no spans, no metrics, no registry. BROKEN names the promise that a process is to break.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

var version = "0.0"

var broken = os.Getenv("BROKEN")

func main() {
	services := map[string]func() http.Handler{"front": front, "stock": shelf, "prices": shelf}
	if len(os.Args) != 2 || services[os.Args[1]] == nil {
		fmt.Println("second", version, "front | stock | prices")
		return
	}
	serve(services[os.Args[1]]())
}

// serve answers until a signal comes, then finishes what is in flight.
func serve(handler http.Handler) {
	signalled, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	server := &http.Server{Addr: os.Getenv("LISTEN"), Handler: handler}
	ended := make(chan error)
	go func() {
		<-signalled.Done()
		if broken == "exits-at-once" {
			os.Exit(0)
		}
		drain, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		ended <- server.Shutdown(drain)
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
}

// shelf is a service without dependencies, and with a limit.
func shelf() http.Handler {
	rate, err := strconv.ParseFloat(os.Getenv("RATE"), 64)
	if err != nil {
		log.Fatal("RATE: ", err)
	}
	burst := rate
	if broken == "bursts-twice-as-much" {
		burst = 2 * rate
	}
	limit := newLimiter(rate, burst)
	routes := http.NewServeMux()
	routes.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, map[string]string{"status": "UP"})
	})
	routes.HandleFunc("GET /item", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := patience(r, time.Minute)
		defer cancel()
		if limit.wait(ctx) != nil {
			answer(w, 429, map[string]string{"error": errLimited.Error()})
			return
		}
		answer(w, 200, map[string]string{"item": "book"})
	})
	return routes
}

// front asks both others, through a breaker each.
func front() http.Handler {
	stock, prices := newCallee(os.Getenv("STOCK_URL")), newCallee(os.Getenv("PRICES_URL"))
	routes := http.NewServeMux()
	routes.HandleFunc("GET /stock", stock.pass)
	routes.HandleFunc("GET /price", func(w http.ResponseWriter, r *http.Request) {
		if broken == "asks-for-more-than-it-needs" {
			if status := stock.ask(r); status != 200 {
				answer(w, status, nil)
				return
			}
		}
		prices.pass(w, r)
	})
	routes.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) {
		health(w, r, map[string]*callee{"stock": stock, "prices": prices})
	})
	return routes
}

type callee struct {
	url     string
	client  http.Client
	breaker *breaker
	timeout time.Duration
}

func newCallee(url string) *callee {
	with := settings{requests: 3, ratio: 0.6, interval: 5 * time.Second, open: 5 * time.Second, trial: 3, closesAfter: 3}
	timeout := 3 * time.Second
	switch broken {
	case "never-opens":
		with.ratio = 2
	case "opens-too-soon":
		with.ratio = 0.3
	case "opens-for-half-the-time":
		with.open /= 2
	case "stays-open":
		with.open = time.Minute
	case "lets-all-through-on-trial":
		with.trial = 100
	case "calls-while-open":
		with.leaks = true
	case "waits-too-long":
		timeout = time.Minute
	case "is-impatient":
		timeout = 500 * time.Millisecond
	}
	once := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return &callee{url: url, client: once, breaker: newBreaker(with), timeout: timeout}
}

// pass hands on what the callee says.
func (c *callee) pass(w http.ResponseWriter, r *http.Request) {
	status := c.ask(r)
	answer(w, status, map[string]string{"says": http.StatusText(status)})
}

// ask gives the callee's status, or that of the failure: 503 refused, 504 too late, 502 anything else.
func (c *callee) ask(r *http.Request) int {
	status := 0
	err := c.breaker.call(func() error {
		ctx, cancel := patience(r, c.timeout)
		defer cancel()
		var err error
		status, err = c.get(ctx, "/item")
		return err
	})
	switch {
	case errors.Is(err, errOpen):
		return 503
	case errors.Is(err, context.DeadlineExceeded):
		return 504
	case err != nil:
		return 502
	}
	return status
}

func (c *callee) get(ctx context.Context, path string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, "GET", c.url+path, nil)
	if err != nil {
		return 0, err
	}
	response, err := c.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if response.StatusCode >= 500 {
		return 0, fmt.Errorf("%s answered %d", c.url, response.StatusCode)
	}
	return response.StatusCode, nil
}

// health asks all callees at the same time.
func health(w http.ResponseWriter, r *http.Request, callees map[string]*callee) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	type word struct{ name, said string }
	words := make(chan word)
	for name, each := range callees {
		go func() {
			said := "UP"
			if _, err := each.get(ctx, "/health"); err != nil && broken != "says-up-whatever-is-broken" {
				said = "DOWN"
			}
			words <- word{name, said}
		}()
	}
	body := map[string]string{"status": "UP"}
	for range callees {
		each := <-words
		body[each.name] = each.said
		if each.said == "DOWN" {
			body["status"] = "DEGRADED"
		}
	}
	answer(w, 200, body)
}

// patience ends when the service's own time is over, or the caller's.
func patience(r *http.Request, own time.Duration) (context.Context, context.CancelFunc) {
	if ms, err := strconv.Atoi(r.Header.Get("X-Timeout-Ms")); err == nil {
		own = min(own, time.Duration(ms)*time.Millisecond)
	}
	return context.WithTimeout(r.Context(), own)
}

func answer(w http.ResponseWriter, status int, body map[string]string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}
