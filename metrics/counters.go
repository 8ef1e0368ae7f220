package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Result is how a verification ended.
type Result int

// The results. Why a token is invalid is told nowhere but here.
const (
	Valid             Result = iota
	InsufficientScope        // valid, but may not write
	InvalidUnknown
	InvalidExpired // or an old value whose grace has ended
	InvalidInactive
	InvalidMalformed
	Failed // nobody knows
)

var results = [...]string{
	Valid:             "valid",
	InsufficientScope: "insufficient_scope",
	InvalidUnknown:    "invalid_unknown",
	InvalidExpired:    "invalid_expired",
	InvalidInactive:   "invalid_inactive",
	InvalidMalformed:  "invalid_malformed",
	Failed:            "failed",
}

// counters is the collector of what every verification counts beside its request.
type counters struct {
	verifications  *prometheus.Desc
	received, sent *prometheus.Desc

	verified                 [len(results)][Stripes]padded
	bytesReceived, bytesSent [Stripes]padded
}

func newCounters() *counters {
	return &counters{
		verifications: prometheus.NewDesc("tokend_verifications_total",
			"Tokens that were presented to be verified, by result: for proxies, /_/token/verify and /_/token/introspect.", []string{"result"}, nil),
		received: prometheus.NewDesc("tokend_received_bytes_total",
			"Bytes of HTTP that came from clients.", nil, nil),
		sent: prometheus.NewDesc("tokend_sent_bytes_total",
			"Bytes of HTTP that went to clients.", nil, nil),
	}
}

// Verified counts a verification. See Begin about stripes.
func (m *Metrics) Verified(stripe int, result Result) { m.counters.verified[result][stripe].Add(1) }

// Received counts bytes that came from a client.
func (m *Metrics) Received(stripe, bytes int) { m.counters.bytesReceived[stripe].Add(int64(bytes)) }

// Sent counts bytes that went to a client.
func (m *Metrics) Sent(stripe, bytes int) { m.counters.bytesSent[stripe].Add(int64(bytes)) }

// Describe implements prometheus.Collector.
func (c *counters) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- c.verifications
	descriptions <- c.received
	descriptions <- c.sent
}

// Collect implements prometheus.Collector.
func (c *counters) Collect(metrics chan<- prometheus.Metric) {
	count := func(desc *prometheus.Desc, stripes *[Stripes]padded, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(sum(stripes)), labels...)
	}
	for result, name := range results {
		count(c.verifications, &c.verified[result], name)
	}
	count(c.received, &c.bytesReceived)
	count(c.sent, &c.bytesSent)
}
