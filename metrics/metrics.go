// Package metrics is what tokend shows Prometheus, on a registry of its own. Labels are route
// templates, never raw paths or values. Names of tokens are labels only with
// metrics.token_names.
package metrics

import (
	"log/slog"
	"net/http"
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
	requests *requests
	counters *counters

	// Connections counts the connections that are open, but for watchers.
	Connections prometheus.Gauge
	// ConnectionsLimit is how many there may be.
	ConnectionsLimit prometheus.Gauge
	// RefusedConnections counts those that came beyond the limit.
	RefusedConnections prometheus.Counter
	// AuditFailures counts the records of the audit that could not be written.
	AuditFailures prometheus.Counter

	authenticationFailures [len(accesses)][len(kinds)]prometheus.Counter
	managementCalls        *prometheus.CounterVec
	commitDuration         prometheus.Histogram
	commitOperations       prometheus.Histogram
	reloadSuccessful       prometheus.Gauge
	reloadTime             prometheus.Gauge
}

// nativeFactor is how much longer a native bucket of the library's histograms is
// than the one before, at most.
const nativeFactor = 1.1

// New registers the families that count what happens. Watch adds those that tell
// how things are.
func New(build Build) *Metrics {
	m := &Metrics{
		registry:         prometheus.NewRegistry(),
		requests:         newRequests(),
		counters:         newCounters(),
		Connections:      newGauge("tokend_connections", "Connections that are open now, but for those at metrics.listen."),
		ConnectionsLimit: newGauge("tokend_connections_limit", "How many connections there may be (limits.max_connections, or less where the limit of open files is low)."),
		RefusedConnections: newCounter("tokend_connections_refused_total",
			"Connections that were refused because there were as many as there may be."),
		AuditFailures: newCounter("tokend_audit_failures_total", "Records of the audit that could not be written."),
		managementCalls: newVec("tokend_management_calls_total",
			"Management calls, by operation and outcome: done, begun (an answer that is a stream), or the code of the error.", "operation", "outcome"),
		commitDuration:   newHistogram("tokend_store_commit_duration_seconds", "Time until a group of changes was on disk.", seconds(classicEnds)),
		commitOperations: newHistogram("tokend_store_commit_operations", "Operations that shared a commit.", prometheus.ExponentialBuckets(1, 2, 9)),
		reloadSuccessful: newGauge("tokend_config_last_reload_successful", "Whether the configuration was taken up when it was last asked for."),
		reloadTime: newGauge("tokend_config_last_reload_success_timestamp_seconds",
			"When the configuration was last taken up, at the start or by a reload."),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "tokend_build_info",
		Help:        "Always 1; the labels tell which build this is.",
		ConstLabels: prometheus.Labels{"version": build.Version, "revision": build.Revision, "goversion": build.Go},
	})
	info.Set(1)
	failures := newVec("tokend_authentication_failures_total",
		"Requests that were refused for their credential, by what they asked for (access) and what was wrong (kind): missing, malformed, invalid (not good), insufficient_scope (good, but not for this).", "access", "kind")
	for access, name := range accesses {
		for kind, kindName := range kinds {
			m.authenticationFailures[access][kind] = failures.WithLabelValues(name, kindName)
		}
	}
	m.registry.MustRegister(
		m.requests, m.counters, m.Connections, m.ConnectionsLimit, m.RefusedConnections, m.AuditFailures,
		failures, m.managementCalls, m.commitDuration, m.commitOperations,
		m.reloadSuccessful, m.reloadTime, info,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

func newGauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
}

func newCounter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func newVec(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

// newHistogram is classic and native.
func newHistogram(name, help string, buckets []float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets, NativeHistogramBucketFactor: nativeFactor})
}

func seconds(durations []time.Duration) (all []float64) {
	for _, d := range durations {
		all = append(all, d.Seconds())
	}
	return all
}

// Access is what a request asks for that somebody must be known for.
type Access int

// The accesses.
const (
	Management Access = iota
	Verification
	Introspection
	Scrape
)

var accesses = [...]string{
	Management:    "management",
	Verification:  "verification",
	Introspection: "introspection",
	Scrape:        "metrics",
}

// Kind is what is wrong with who asks.
type Kind int

// The kinds.
const (
	Missing   Kind = iota // no credential of those that are taken here
	Malformed             // more than one, or none that is readable
	Invalid               // one that is not good
	Scope                 // one that is good, but not for this
)

var kinds = [...]string{
	Missing:   "missing",
	Malformed: "malformed",
	Invalid:   "invalid",
	Scope:     "insufficient_scope",
}

// AuthenticationFailed counts a request that was refused for who asks.
func (m *Metrics) AuthenticationFailed(access Access, kind Kind) {
	m.authenticationFailures[access][kind].Inc()
}

// Manages exports an operation before it was called for the first time.
func (m *Metrics) Manages(operation string) { m.managementCalls.WithLabelValues(operation, Done) }

// Done is the outcome of a management call that was carried out.
const Done = "done"

// Managed counts a management call. Operation and outcome are of fixed sets.
func (m *Metrics) Managed(operation, outcome string) {
	m.managementCalls.WithLabelValues(operation, outcome).Inc()
}

// Committed records a commit: how long it took until it was on disk, and how many
// operations shared it.
func (m *Metrics) Committed(took time.Duration, operations int) {
	m.commitDuration.Observe(took.Seconds())
	m.commitOperations.Observe(float64(operations))
}

// Reloaded records that the configuration was taken up, or refused.
func (m *Metrics) Reloaded(now time.Time, taken bool) {
	m.reloadSuccessful.Set(number(taken))
	if taken {
		m.reloadTime.Set(timestamp(now))
	}
}

// Registry is where the families are, for tests that lint or read them.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// Handler answers a scrape with all that can be told, and logs what cannot.
func (m *Metrics) Handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		DisableCompression: true,
		ErrorHandling:      promhttp.ContinueOnError,
		ErrorLog:           slog.NewLogLogger(log.Handler(), slog.LevelError),
	})
}
