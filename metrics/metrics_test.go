package metrics_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"tokend/metrics"
)

func newMetrics() *metrics.Metrics {
	return metrics.New(metrics.Build{Version: "1.2.3", Revision: "abc", Go: "go1"}, func() bool { return true })
}

func TestFamiliesFollowTheConventions(t *testing.T) {
	m := newMetrics()
	m.Route("GET", "/x").Observe(200, time.Millisecond)
	problems, err := testutil.GatherAndLint(m.Registry())
	if err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}

func TestRoute_Observe(t *testing.T) {
	m := newMetrics()
	get, post := m.Route("GET", "/x"), m.Route("POST", "/x")
	get.Observe(200, time.Millisecond)
	get.Observe(200, time.Millisecond)
	get.Observe(404, time.Millisecond)
	post.Observe(200, time.Millisecond)
	post.Observe(12345, time.Millisecond) // no code at all
	want := `
# HELP tokend_http_requests_total Requests answered, by method, route template and status code.
# TYPE tokend_http_requests_total counter
tokend_http_requests_total{code="200",method="GET",route="/x"} 2
tokend_http_requests_total{code="404",method="GET",route="/x"} 1
tokend_http_requests_total{code="200",method="POST",route="/x"} 1
tokend_http_requests_total{code="0",method="POST",route="/x"} 1
`
	if err := testutil.GatherAndCompare(m.Registry(), strings.NewReader(want), "tokend_http_requests_total"); err != nil {
		t.Error(err)
	}
}

func TestHandler(t *testing.T) {
	answer := httptest.NewRecorder()
	newMetrics().Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		`tokend_build_info{goversion="go1",revision="abc",version="1.2.3"} 1`,
		"tokend_store_writable 1",
		"tokend_connections 0",
		"go_goroutines ",
		"process_resident_memory_bytes ",
	} {
		if !strings.Contains(answer.Body.String(), want) {
			t.Errorf("%s is missing", want)
		}
	}
}
