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

// routes is the collector of all requests.
type routes struct {
	requests *prometheus.Desc
	duration *prometheus.Desc
	inFlight *prometheus.Desc

	begun [Stripes]struct { // requests that have not ended
		atomic.Int64
		_ [56]byte // a cache line each
	}

	mu  sync.Mutex
	all []*Route
}

// bounds are the upper ends of the duration's buckets.
var bounds = [...]time.Duration{
	50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, time.Second, 5 * time.Second,
}

// codes are the statuses that are counted apart; all others are 0.
var codes = [...]int{0, 200, 201, 204, 400, 401, 403, 404, 405, 408, 409, 413, 421, 431, 500, 503, 505, 507}

// Route records the requests of one route.
type Route struct {
	method, template string
	stripes          [Stripes]stripe
}

type stripe struct {
	codes   [len(codes)]atomic.Uint64
	buckets [len(bounds) + 1]atomic.Uint64
	sum     atomic.Int64 // nanoseconds
	_       [64]byte
}

func newRoutes() *routes {
	return &routes{
		requests: prometheus.NewDesc("tokend_http_requests_total",
			"Requests answered, by method, route template and status code.", []string{"method", "route", "code"}, nil),
		duration: prometheus.NewDesc("tokend_http_request_duration_seconds",
			"Time from a request's arrival to its answer, without sending it, by route template.", []string{"route"}, nil),
		inFlight: prometheus.NewDesc("tokend_http_requests_in_flight",
			"Requests that are being answered now. A list counts until it begins to be sent.", nil, nil),
	}
}

// Route gives the recorder for a method and a route template, each of a fixed
// set.
func (m *Metrics) Route(method, template string) *Route {
	r := &Route{method: method, template: template}
	m.routes.mu.Lock()
	defer m.routes.mu.Unlock()
	m.routes.all = append(m.routes.all, r)
	return r
}

// Begin counts a request as in flight until End. Any stripe from 0 to Stripes-1
// will do; those at work at the same time should use different ones.
func (m *Metrics) Begin(stripe int) { m.routes.begun[stripe].Add(1) }

// End is the counterpart of Begin, with the same stripe.
func (m *Metrics) End(stripe int) { m.routes.begun[stripe].Add(-1) }

// Observe records an answer.
func (r *Route) Observe(stripe, code int, took time.Duration) {
	s := &r.stripes[stripe]
	i := slices.Index(codes[:], code)
	s.codes[max(i, 0)].Add(1)
	b := 0
	for b < len(bounds) && took > bounds[b] {
		b++
	}
	s.buckets[b].Add(1)
	s.sum.Add(int64(took))
}

// Describe implements prometheus.Collector.
func (rs *routes) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- rs.requests
	descriptions <- rs.duration
	descriptions <- rs.inFlight
}

// Collect implements prometheus.Collector.
func (rs *routes) Collect(metrics chan<- prometheus.Metric) {
	inFlight := int64(0)
	for i := range rs.begun {
		inFlight += rs.begun[i].Load()
	}
	metrics <- prometheus.MustNewConstMetric(rs.inFlight, prometheus.GaugeValue, float64(inFlight))

	rs.mu.Lock()
	defer rs.mu.Unlock()
	durations := map[string]*durations{}
	for _, r := range rs.all {
		for i, code := range codes {
			if n := r.answers(i); n > 0 {
				metrics <- prometheus.MustNewConstMetric(rs.requests, prometheus.CounterValue, float64(n), r.method, r.template, strconv.Itoa(code))
			}
		}
		if durations[r.template] == nil {
			durations[r.template] = newDurations()
		}
		durations[r.template].add(r)
	}
	for template, d := range durations {
		metrics <- prometheus.MustNewConstHistogram(rs.duration, d.count, d.sum.Seconds(), d.upTo, template)
	}
}

// answers is how many had the code at a place in codes.
func (r *Route) answers(i int) (n uint64) {
	for stripe := range r.stripes {
		n += r.stripes[stripe].codes[i].Load()
	}
	return n
}

// durations are those of all methods of a template.
type durations struct {
	count uint64
	sum   time.Duration
	upTo  map[float64]uint64 // by the bucket's end in seconds: how many were not longer
}

func newDurations() *durations { return &durations{upTo: map[float64]uint64{}} }

func (d *durations) add(r *Route) {
	for stripe := range r.stripes {
		s := &r.stripes[stripe]
		n := uint64(0)
		for i, bound := range bounds {
			n += s.buckets[i].Load()
			d.upTo[bound.Seconds()] += n
		}
		d.count += n + s.buckets[len(bounds)].Load()
		d.sum += time.Duration(s.sum.Load())
	}
}
