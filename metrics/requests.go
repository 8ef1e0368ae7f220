package metrics

import (
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Stripes is how many copies there are of what each request counts. The cores
// of a machine that count in the same place wait for each other, and longer than
// a verification takes otherwise.
const Stripes = 8

// requests is the collector of all requests.
type requests struct {
	total    *prometheus.Desc
	inFlight *prometheus.Desc
	duration *prometheus.Desc

	begun [Stripes]padded // requests that have not ended

	mu        sync.Mutex
	routes    []*Route
	durations []*durations // by template, in the order of the routes
}

// padded is a counter with a cache line of its own.
type padded struct {
	atomic.Int64
	_ [56]byte
}

func sum(stripes *[Stripes]padded) (n int64) {
	for i := range stripes {
		n += stripes[i].Load()
	}
	return n
}

// codes are the statuses that are counted apart; all others are 0.
var codes = [...]int{0, 200, 201, 204, 400, 401, 403, 404, 405, 408, 409, 413, 421, 431, 500, 503, 505, 507}

// Route records the requests of one route.
type Route struct {
	method, template string
	usual            []int // codes that are exported from the start
	counts           [Stripes]struct {
		codes [len(codes)]atomic.Uint64
		_     [64]byte
	}
	durations *durations // shared by all methods
}

func newRequests() *requests {
	return &requests{
		total: prometheus.NewDesc("tokend_http_requests_total",
			"Requests answered, by method, route template and status code.", []string{"method", "route", "code"}, nil),
		inFlight: prometheus.NewDesc("tokend_http_requests_in_flight",
			"Requests that are being answered now. A list counts until it begins to be sent.", nil, nil),
		duration: prometheus.NewDesc("tokend_http_request_duration_seconds",
			"Time from a request's arrival to its answer, without sending it, by route template.", []string{"route"}, nil),
	}
}

// Route gives the recorder for a method and a route template, each of a fixed
// set. The usual codes are exported before there was any answer with them.
func (m *Metrics) Route(method, template string, usual ...int) *Route {
	rs := m.requests
	rs.mu.Lock()
	defer rs.mu.Unlock()
	i := slices.IndexFunc(rs.durations, func(d *durations) bool { return d.template == template })
	if i < 0 {
		i = len(rs.durations)
		rs.durations = append(rs.durations, newDurations(template))
	}
	r := &Route{method: method, template: template, usual: usual, durations: rs.durations[i]}
	rs.routes = append(rs.routes, r)
	return r
}

// Begin counts a request as in flight until End. Any stripe from 0 to Stripes-1
// will do; those at work at the same time should use different ones.
func (m *Metrics) Begin(stripe int) { m.requests.begun[stripe].Add(1) }

// End is the counterpart of Begin, with the same stripe.
func (m *Metrics) End(stripe int) { m.requests.begun[stripe].Add(-1) }

// Observe records an answer.
func (r *Route) Observe(stripe, code int, took time.Duration) {
	r.counts[stripe].codes[max(slices.Index(codes[:], code), 0)].Add(1)
	r.durations.observe(stripe, took)
}

// Describe implements prometheus.Collector.
func (rs *requests) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- rs.total
	descriptions <- rs.inFlight
	descriptions <- rs.duration
}

// Collect implements prometheus.Collector.
func (rs *requests) Collect(metrics chan<- prometheus.Metric) {
	metrics <- prometheus.MustNewConstMetric(rs.inFlight, prometheus.GaugeValue, float64(sum(&rs.begun)))
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for _, r := range rs.routes {
		for i, code := range codes {
			if n := r.answers(i); n > 0 || slices.Contains(r.usual, code) {
				metrics <- prometheus.MustNewConstMetric(rs.total, prometheus.CounterValue, float64(n), r.method, r.template, strconv.Itoa(code))
			}
		}
	}
	for _, d := range rs.durations {
		metrics <- d.histogram(rs.duration)
	}
}

// answers is how many had the code at a place in codes.
func (r *Route) answers(i int) (n uint64) {
	for stripe := range r.counts {
		n += r.counts[stripe].codes[i].Load()
	}
	return n
}
