package metrics_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"tokend/metrics"
)

func newMetrics() *metrics.Metrics {
	return metrics.New(metrics.Build{Version: "1.2.3", Revision: "abc", Go: "go1"})
}

func TestFamiliesFollowTheConventions(t *testing.T) {
	m := newMetrics()
	m.Route("GET", "/x").Observe(0, 200, time.Millisecond)
	problems, err := testutil.GatherAndLint(m.Registry())
	if err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}

func TestRoute_Observe(t *testing.T) {
	m := newMetrics()
	get, post := m.Route("GET", "/x", 200), m.Route("POST", "/x", 201)
	get.Observe(0, 200, time.Millisecond)
	get.Observe(0, 200, time.Millisecond)
	get.Observe(7, 404, time.Millisecond)
	post.Observe(0, 200, time.Millisecond)
	post.Observe(1, 12345, time.Millisecond) // no code at all
	want := `
# HELP tokend_http_requests_total Requests answered, by method, route template and status code.
# TYPE tokend_http_requests_total counter
tokend_http_requests_total{code="200",method="GET",route="/x"} 2
tokend_http_requests_total{code="404",method="GET",route="/x"} 1
tokend_http_requests_total{code="201",method="POST",route="/x"} 0
tokend_http_requests_total{code="200",method="POST",route="/x"} 1
tokend_http_requests_total{code="0",method="POST",route="/x"} 1
`
	if err := testutil.GatherAndCompare(m.Registry(), strings.NewReader(want), "tokend_http_requests_total"); err != nil {
		t.Error(err)
	}
}

func TestRoute_Observe_duration(t *testing.T) {
	m := newMetrics()
	for i, took := range []time.Duration{0, 50 * time.Microsecond, 50*time.Microsecond + 1, 5 * time.Second, time.Minute} {
		m.Route(fmt.Sprint("METHOD", i), "/x").Observe(i, 200, took)
	}
	want := `
# HELP tokend_http_request_duration_seconds Time from a request's arrival to its answer, without sending it, by route template.
# TYPE tokend_http_request_duration_seconds histogram
tokend_http_request_duration_seconds_bucket{route="/x",le="5e-05"} 2
tokend_http_request_duration_seconds_bucket{route="/x",le="0.0001"} 3
tokend_http_request_duration_seconds_bucket{route="/x",le="0.00025"} 3
tokend_http_request_duration_seconds_bucket{route="/x",le="0.0005"} 3
tokend_http_request_duration_seconds_bucket{route="/x",le="0.001"} 3
tokend_http_request_duration_seconds_bucket{route="/x",le="0.0025"} 3
tokend_http_request_duration_seconds_bucket{route="/x",le="0.005"} 3
tokend_http_request_duration_seconds_bucket{route="/x",le="0.01"} 3
tokend_http_request_duration_seconds_bucket{route="/x",le="0.025"} 3
tokend_http_request_duration_seconds_bucket{route="/x",le="0.05"} 3
tokend_http_request_duration_seconds_bucket{route="/x",le="0.1"} 3
tokend_http_request_duration_seconds_bucket{route="/x",le="0.25"} 3
tokend_http_request_duration_seconds_bucket{route="/x",le="1"} 3
tokend_http_request_duration_seconds_bucket{route="/x",le="5"} 4
tokend_http_request_duration_seconds_bucket{route="/x",le="+Inf"} 5
tokend_http_request_duration_seconds_sum{route="/x"} 65.000100001
tokend_http_request_duration_seconds_count{route="/x"} 5
`
	if err := testutil.GatherAndCompare(m.Registry(), strings.NewReader(want), "tokend_http_request_duration_seconds"); err != nil {
		t.Error(err)
	}
}

func TestInFlight(t *testing.T) {
	m := newMetrics()
	m.Begin(0)
	m.Begin(3)
	m.Begin(3)
	m.End(0)
	want := `
# HELP tokend_http_requests_in_flight Requests that are being answered now. A list counts until it begins to be sent.
# TYPE tokend_http_requests_in_flight gauge
tokend_http_requests_in_flight 2
`
	if err := testutil.GatherAndCompare(m.Registry(), strings.NewReader(want), "tokend_http_requests_in_flight"); err != nil {
		t.Error(err)
	}
}

// scrape is what Prometheus reads.
func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	answer := httptest.NewRecorder()
	m.Handler(slog.New(slog.DiscardHandler)).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return answer.Body.String()
}

func expectLines(t *testing.T, m *metrics.Metrics, want ...string) {
	t.Helper()
	got := scrape(t, m)
	for _, line := range want {
		if !strings.Contains(got, "\n"+line) {
			t.Errorf("%s is missing", line)
		}
	}
}

func TestHandler(t *testing.T) {
	expectLines(t, newMetrics(),
		`tokend_build_info{goversion="go1",revision="abc",version="1.2.3"} 1`,
		`tokend_verifications_total{result="valid"} 0`,
		`tokend_authentication_failures_total{access="management",kind="invalid"} 0`,
		"tokend_audit_failures_total 0",
		"tokend_connections 0",
		"tokend_store_commit_duration_seconds_count 0",
		"go_goroutines ",
		"process_resident_memory_bytes ",
	)
}

func TestCounters(t *testing.T) {
	m := newMetrics()
	m.Manages("create")
	m.Manages("delete")
	m.Managed("create", metrics.Done)
	m.Managed("create", "name_taken")
	m.AuthenticationFailed(metrics.Scrape, metrics.Missing)
	m.Verified(0, metrics.InvalidExpired)
	m.Verified(7, metrics.InvalidExpired)
	m.Received(1, 10)
	m.Received(2, 5)
	m.Sent(3, 7)
	m.Committed(3*time.Millisecond, 5)
	m.Reloaded(time.Unix(9, 0), true)
	m.Reloaded(time.Unix(10, 0), false)
	expectLines(t, m,
		`tokend_management_calls_total{operation="create",outcome="done"} 1`,
		`tokend_management_calls_total{operation="create",outcome="name_taken"} 1`,
		`tokend_management_calls_total{operation="delete",outcome="done"} 0`,
		`tokend_authentication_failures_total{access="metrics",kind="missing"} 1`,
		`tokend_verifications_total{result="invalid_expired"} 2`,
		"tokend_received_bytes_total 15",
		"tokend_sent_bytes_total 7",
		`tokend_store_commit_duration_seconds_bucket{le="0.0025"} 0`,
		`tokend_store_commit_duration_seconds_bucket{le="0.005"} 1`,
		`tokend_store_commit_operations_bucket{le="4"} 0`,
		`tokend_store_commit_operations_bucket{le="8"} 1`,
		"tokend_config_last_reload_successful 0",
		"tokend_config_last_reload_success_timestamp_seconds 9",
	)
}
