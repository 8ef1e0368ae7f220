package metrics

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Snapshot is how things are at a scrape.
type Snapshot struct {
	Now   time.Time
	Ready bool // tokens can be looked up

	Tokens struct {
		Known                     bool // else they are being counted
		Active, Inactive, Expired int
		Expiring                  []int // beside Within
	}
	OldValues struct {
		Known                bool
		Unused, Used, Ending int
	}
	ExpiringNext   []Due // by name; nil: names are not told
	OldValuesInUse []Due

	Store struct {
		Writable    bool
		IndexMisses uint64
		Bytes       map[string]uint64 // by part; nil where the file system does not tell
		Free        *uint64           // nil where it does not
		Reserve     uint64
		Tables      []int   // by level
		Compaction  float64 // how much it is due, from 1 on
		LastBackup  time.Time
	}

	CertificateExpiry time.Time // zero: there is no TLS
}

// Due is when something ends about a token.
type Due struct {
	Name string
	At   time.Time
}

// Within are the times within which tokens are told to expire.
var Within = []time.Duration{2 * day, 14 * day, 30 * day}

const day = 24 * time.Hour

// family is one that tells how things are. Emit is called with a value and the
// values of its labels.
type family struct {
	name, help string
	labels     []string
	isCounter  bool
	values     func(s *Snapshot, emit func(value float64, labels ...string))
}

// one is a family without labels.
func one(name, help string, value func(*Snapshot) float64) family {
	return family{name: name, help: help, values: func(s *Snapshot, emit func(float64, ...string)) { emit(value(s)) }}
}

var families = []family{
	one("tokend_ready", "Whether tokens can be looked up, as /readyz says.",
		func(s *Snapshot) float64 { return number(s.Ready) }),
	one("tokend_time_seconds", "The clock of this machine, by which tokens expire, in Unix time.",
		func(s *Snapshot) float64 { return timestamp(s.Now) }),
	{
		name: "tokend_tokens", help: "Tokens by their status.", labels: []string{"status"},
		values: func(s *Snapshot, emit func(float64, ...string)) {
			t := &s.Tokens
			emit(known(t.Known, t.Active), "active")
			emit(known(t.Known, t.Inactive), "inactive")
			emit(known(t.Known, t.Expired), "expired")
		},
	},
	one("tokend_tokens_counted", "Whether the tokens are counted: not in the first moments after a start, in which their numbers are NaN, nor where a record is damaged.",
		func(s *Snapshot) float64 { return number(s.Tokens.Known) }),
	{
		name: "tokend_tokens_expiring", help: "Active tokens that expire within a time; those within 2d are also within 14d and 30d.", labels: []string{"within"},
		values: func(s *Snapshot, emit func(float64, ...string)) {
			for i, n := range s.Tokens.Expiring {
				emit(known(s.Tokens.Known, n), fmt.Sprintf("%dd", Within[i]/day))
			}
		},
	},
	{
		name: "tokend_old_values", labels: []string{"state"},
		help: "Values before a rotation whose grace has not ended: used are those that were used since, and either not before the new value, or no longer ago than a quarter of the grace (at most 25 hours); ending are used ones in the last quarter of their grace; others are unused.",
		values: func(s *Snapshot, emit func(float64, ...string)) {
			o := &s.OldValues
			emit(known(o.Known, o.Unused), "unused")
			emit(known(o.Known, o.Used), "used")
			emit(known(o.Known, o.Ending), "ending")
		},
	},
	{
		name: "tokend_token_expiry_timestamp_seconds", labels: []string{"name"},
		help:   "When the tokens that expire next do so; only with metrics.token_names.",
		values: func(s *Snapshot, emit func(float64, ...string)) { emitDue(s.ExpiringNext, emit) },
	},
	{
		name: "tokend_old_value_expiry_timestamp_seconds", labels: []string{"name"},
		help:   "When the grace of old values that are still used ends; only with metrics.token_names.",
		values: func(s *Snapshot, emit func(float64, ...string)) { emitDue(s.OldValuesInUse, emit) },
	},
	{
		name: "tokend_index_misses_total", isCounter: true,
		help:   "Values that were looked up in the database, since the index in memory (store.max_indexed_tokens) could not tell. All others are hits.",
		values: func(s *Snapshot, emit func(float64, ...string)) { emit(float64(s.Store.IndexMisses)) },
	},
	one("tokend_store_writable", "Whether the store takes changes: 0 on a nearly full disk or after a failed commit.",
		func(s *Snapshot) float64 { return number(s.Store.Writable) }),
	{
		name: "tokend_store_bytes", help: "What the store takes of its disk, by part. The value log stays empty, so that nothing needs to be collected.", labels: []string{"part"},
		values: func(s *Snapshot, emit func(float64, ...string)) {
			for part, n := range s.Store.Bytes {
				emit(float64(n), part)
			}
		},
	},
	{
		name: "tokend_store_tables", help: "Tables of the store, by level. Compaction moves what they hold from each to the next.", labels: []string{"level"},
		values: func(s *Snapshot, emit func(float64, ...string)) {
			for level, n := range s.Store.Tables {
				emit(float64(n), strconv.Itoa(level))
			}
		},
	},
	one("tokend_store_compaction_score", "How full the fullest level is of those that are due for compaction, from 1 on; 0 where none is.",
		func(s *Snapshot) float64 { return s.Store.Compaction }),
	{
		name: "tokend_store_disk_free_bytes", help: "Room on the store's disk.",
		values: func(s *Snapshot, emit func(float64, ...string)) {
			if s.Store.Free != nil {
				emit(float64(*s.Store.Free))
			}
		},
	},
	one("tokend_store_disk_reserve_bytes", "Room on that disk that is left alone: with less, no changes are taken (store.min_free_bytes).",
		func(s *Snapshot) float64 { return float64(s.Store.Reserve) }),
	one("tokend_last_backup_timestamp_seconds", "When the last backup was taken; 0: never.",
		func(s *Snapshot) float64 { return timestamp(s.Store.LastBackup) }),
	{
		name: "tokend_tls_certificate_expiry_timestamp_seconds",
		help: "When the certificate, or the one in its chain that does so first, expires; only with TLS.",
		values: func(s *Snapshot, emit func(float64, ...string)) {
			if !s.CertificateExpiry.IsZero() {
				emit(timestamp(s.CertificateExpiry))
			}
		},
	},
}

func emitDue(due []Due, emit func(float64, ...string)) {
	for _, d := range due {
		emit(timestamp(d.At), d.Name)
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// known is a count, or not a number.
func known(ok bool, n int) float64 {
	if !ok {
		return math.NaN()
	}
	return float64(n)
}

// timestamp is a moment in Unix time; none is 0.
func timestamp(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// watcher is the collector of how things are.
type watcher struct {
	state        func() Snapshot
	descriptions []*prometheus.Desc // beside families
}

// RegisterSnapshot registers the families that tell how things are, which state is asked for
// at each scrape.
func (m *Metrics) RegisterSnapshot(state func() Snapshot) {
	w := &watcher{state: state}
	for _, g := range families {
		w.descriptions = append(w.descriptions, prometheus.NewDesc(g.name, g.help, g.labels, nil))
	}
	m.registry.MustRegister(w)
}

// Describe implements prometheus.Collector.
func (w *watcher) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range w.descriptions {
		descriptions <- d
	}
}

// Collect implements prometheus.Collector.
func (w *watcher) Collect(metrics chan<- prometheus.Metric) {
	state := w.state()
	for i, g := range families {
		kind := prometheus.GaugeValue
		if g.isCounter {
			kind = prometheus.CounterValue
		}
		g.values(&state, func(value float64, labels ...string) {
			metrics <- prometheus.MustNewConstMetric(w.descriptions[i], kind, value, labels...)
		})
	}
}
