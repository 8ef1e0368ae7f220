package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"

	"tokend/metrics"
)

// measureScrape measures the CPU that a scrape takes of a server with many tokens.
func (b *bench) measureScrape(t *tokend, tokens int) {
	const scrapes = 200
	size := 0
	before := t.cpu()
	for range scrapes {
		status, body, err := fasthttp.Get(nil, "http://"+t.address+"/metrics")
		check(err)
		if status != http.StatusOK {
			check(fmt.Errorf("a scrape is answered with %d", status))
		}
		size = len(body)
	}
	each := (t.cpu() - before) / scrapes
	b.figure(fmt.Sprintf("server CPU of a scrape (%d kB), %d tokens", size/1000, tokens), each.Round(10*time.Microsecond).String(), each < 5*time.Millisecond, "5 ms")
}

// measureRecording measures what a verification takes that is only there to be
// counted: the calls that a server makes for each, beside the CPU of one.
func (b *bench) measureRecording(verification time.Duration) {
	m := metrics.New(metrics.Build{})
	route := m.Route("GET", "/_/token/verify")
	var each []time.Duration
	for range 11 {
		const times = 200_000
		begin := time.Now()
		for i := range times {
			m.Received(1, 150)
			m.Begin(0)
			m.Verified(0, metrics.Valid)
			m.End(0)
			route.Observe(0, http.StatusOK, time.Duration(i)*time.Nanosecond)
			m.Sent(1, 300)
		}
		each = append(each, time.Since(begin)/times)
	}
	part := float64(median(each)) / float64(verification)
	b.figure("recording a verification", median(each).String(), true, "")
	b.figure("  to its CPU", fmt.Sprintf("%.1f %%", 100*part), part < 0.03, "less than 3 %")
}
