// Package metrics is what tokend tells Prometheus: a value on a registry of its
// own. Labels are route templates, never raw paths, names or values.
package metrics

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Build is what a binary knows of its making.
type Build struct {
	Version  string
	Revision string
	Go       string
}

// Metrics is every family that tokend exports. Its methods are safe for
// concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec

	// InFlight counts the requests that are being answered.
	InFlight prometheus.Gauge
	// Connections counts the connections that are open.
	Connections prometheus.Gauge
	// RefusedConnections counts those that came beyond the limit.
	RefusedConnections prometheus.Counter
}

// New registers all families. Writable tells at each scrape whether the store
// takes changes.
func New(build Build, writable func() bool) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokend_http_requests_total",
			Help: "Requests answered, by method, route template and status code.",
		}, []string{"method", "route", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tokend_http_request_duration_seconds",
			Help:    "Time from a request's arrival to its answer, without sending it, by route template.",
			Buckets: []float64{50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 1, 5},
		}, []string{"route"}),
		InFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tokend_http_requests_in_flight",
			Help: "Requests that are being answered now. A list counts until it begins to be sent.",
		}),
		Connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tokend_connections",
			Help: "Connections that are open now.",
		}),
		RefusedConnections: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tokend_connections_refused_total",
			Help: "Connections that were refused because limits.max_connections was reached.",
		}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "tokend_build_info",
		Help: "Always 1; the labels tell which build this is.",
		ConstLabels: prometheus.Labels{
			"version": build.Version, "revision": build.Revision, "goversion": build.Go,
		},
	})
	info.Set(1)
	m.registry.MustRegister(
		m.requests, m.duration, m.InFlight, m.Connections, m.RefusedConnections, info,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "tokend_store_writable",
			Help: "Whether the store takes changes: 0 on a nearly full disk or after a failed commit.",
		}, func() float64 {
			if writable() {
				return 1
			}
			return 0
		}),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Registry is where the families are, for tests that lint or read them.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// Handler answers a scrape.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{DisableCompression: true})
}

// Route records the requests of one route.
type Route struct {
	counters *prometheus.CounterVec
	duration prometheus.Observer
	byCode   [600]atomic.Pointer[prometheus.Counter] // so that the usual case looks no label up
}

// Route gives the recorder for a method and a route template, each of a fixed
// set.
func (m *Metrics) Route(method, template string) *Route {
	return &Route{
		counters: m.requests.MustCurryWith(prometheus.Labels{"method": method, "route": template}),
		duration: m.duration.WithLabelValues(template),
	}
}

// Observe records an answer.
func (r *Route) Observe(code int, took time.Duration) {
	r.counter(code).Inc()
	r.duration.Observe(took.Seconds())
}

func (r *Route) counter(code int) prometheus.Counter {
	if code < 0 || code >= len(r.byCode) {
		code = 0
	}
	if known := r.byCode[code].Load(); known != nil {
		return *known
	}
	counter := r.counters.WithLabelValues(strconv.Itoa(code))
	r.byCode[code].Store(&counter)
	return counter
}
