package metrics_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"tokend/metrics"
)

// state is one in which every family has a value.
func state() (s metrics.Snapshot) {
	at := func(s int64) time.Time { return time.Unix(s, 500e6) }
	s.Now, s.Ready, s.CertificateExpiry = at(1), true, at(2)
	s.Tokens.Known, s.Tokens.Active, s.Tokens.Inactive, s.Tokens.Expired = true, 3, 4, 5
	s.Tokens.Expiring = []int{6, 7, 8}
	s.OldValues.Known, s.OldValues.Unused, s.OldValues.Used, s.OldValues.Ending = true, 9, 10, 11
	s.ExpiringNext = []metrics.Due{{Name: "a\n\"b", At: at(12)}}
	s.OldValuesInUse = []metrics.Due{{Name: "é", At: at(13)}}
	s.Store.Writable, s.Store.IndexMisses = true, 14
	s.Store.Bytes = map[string]uint64{"tables": 15, "log": 16, "value_log": 17, "other": 18}
	s.Store.Free, s.Store.Reserve, s.Store.Tables, s.Store.Compaction = new(uint64(19)), 20, []int{21, 22}, 1.5
	s.Store.LastBackup = at(23)
	return s
}

func TestWatch(t *testing.T) {
	for _, c := range []struct {
		name  string
		state func() metrics.Snapshot
		want  string
	}{
		{"all that there can be", state, `
tokend_ready 1
tokend_time_seconds 1.5
tokend_tokens{status="active"} 3
tokend_tokens{status="inactive"} 4
tokend_tokens{status="expired"} 5
tokend_tokens_counted 1
tokend_tokens_expiring{within="2d"} 6
tokend_tokens_expiring{within="14d"} 7
tokend_tokens_expiring{within="30d"} 8
tokend_old_values{state="unused"} 9
tokend_old_values{state="used"} 10
tokend_old_values{state="ending"} 11
tokend_token_expiry_timestamp_seconds{name="a\n\"b"} 12.5
tokend_old_value_expiry_timestamp_seconds{name="é"} 13.5
tokend_index_misses_total 14
tokend_store_writable 1
tokend_store_bytes{part="tables"} 15
tokend_store_bytes{part="log"} 16
tokend_store_bytes{part="value_log"} 17
tokend_store_bytes{part="other"} 18
tokend_store_disk_free_bytes 19
tokend_store_disk_reserve_bytes 20
tokend_store_tables{level="0"} 21
tokend_store_tables{level="1"} 22
tokend_store_compaction_score 1.5
tokend_last_backup_timestamp_seconds 23.5
tokend_tls_certificate_expiry_timestamp_seconds 2.5
`},
		{"nothing is known", func() (s metrics.Snapshot) {
			s.Tokens.Expiring = []int{0, 0, 0}
			return s
		}, `
tokend_ready 0
tokend_time_seconds 0
tokend_tokens{status="active"} NaN
tokend_tokens{status="inactive"} NaN
tokend_tokens{status="expired"} NaN
tokend_tokens_counted 0
tokend_tokens_expiring{within="2d"} NaN
tokend_tokens_expiring{within="14d"} NaN
tokend_tokens_expiring{within="30d"} NaN
tokend_old_values{state="unused"} NaN
tokend_old_values{state="used"} NaN
tokend_old_values{state="ending"} NaN
tokend_index_misses_total 0
tokend_store_writable 0
tokend_store_disk_reserve_bytes 0
tokend_store_compaction_score 0
tokend_last_backup_timestamp_seconds 0
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMetrics()
			m.RegisterSnapshot(c.state)
			got := scrape(t, m)
			for line := range strings.SplitSeq(strings.TrimSpace(c.want), "\n") {
				if !strings.Contains(got, "\n"+line+"\n") {
					t.Errorf("%s is missing", line)
				}
			}
			lines := strings.Count(got, "\n"+"tokend_") - strings.Count(scrape(t, newMetrics()), "\n"+"tokend_")
			if want := strings.Count(c.want, "\n") - 1; lines != want {
				t.Errorf("%d series, want %d:\n%s", lines, want, got)
			}
			if problems, err := testutil.GatherAndLint(m.Registry()); err != nil || len(problems) > 0 {
				t.Error(problems, err)
			}
		})
	}
}
