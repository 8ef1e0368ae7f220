// Package metrics is what tokend tells Prometheus: a value on a registry of its
// own. Labels are route templates, never raw paths, names or values.
package metrics

import (
	"net/http"

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
	routes   *routes

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
		routes:   newRoutes(),
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
		m.routes, m.Connections, m.RefusedConnections, info,
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
