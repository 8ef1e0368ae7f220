package metrics_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"pgregory.net/rapid"
)

// observed is the histogram of some durations, as Prometheus gets it.
func observed(t rapid.TB, durations []time.Duration) *dto.Histogram {
	t.Helper()
	m := newMetrics()
	route := m.Route("GET", "/x")
	for i, took := range durations {
		route.Observe(i%8, 200, took)
	}
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "tokend_http_request_duration_seconds" {
			return family.GetMetric()[0].GetHistogram()
		}
	}
	t.Fatal("there is no histogram")
	return nil
}

// Both kinds of buckets hold each duration where their definition says.
func TestDurations(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		logarithm := rapid.Float64Range(math.Log(1), math.Log(900e9))
		durations := rapid.SliceOf(rapid.Custom(func(r *rapid.T) time.Duration {
			if rapid.Bool().Draw(r, "at an end") {
				return rapid.SampledFrom(ends()).Draw(r, "end") + time.Duration(rapid.IntRange(0, 1).Draw(r, "beyond"))
			}
			return time.Duration(math.Exp(logarithm.Draw(r, "logarithm")))
		})).Draw(r, "durations")
		h := observed(r, durations)
		sum := time.Duration(0)
		for _, d := range durations {
			sum += d
		}
		if h.GetSampleCount() != uint64(len(durations)) || math.Abs(h.GetSampleSum()-sum.Seconds()) > 1e-6 {
			r.Fatalf("count %d, sum %f of %v", h.GetSampleCount(), h.GetSampleSum(), durations)
		}
		expectClassic(r, h, durations)
		expectNative(r, h, durations)
	})
}

// ends are the last nanoseconds of all buckets.
func ends() []time.Duration {
	all := []time.Duration{0, 50e3, 100e3, 250e3, 500e3, 1e6, 25e5, 5e6, 10e6, 25e6, 50e6, 100e6, 250e6, 1e9, 5e9}
	for i := -159; i <= 79; i++ {
		all = append(all, time.Duration(math.Exp2(float64(i)/8)*1e9))
	}
	return all
}

func expectClassic(t rapid.TB, h *dto.Histogram, durations []time.Duration) {
	t.Helper()
	if len(h.GetBucket()) != 14 {
		t.Fatalf("%d classic buckets", len(h.GetBucket()))
	}
	for _, bucket := range h.GetBucket() {
		want := uint64(0)
		for _, d := range durations {
			if d.Seconds() <= bucket.GetUpperBound() {
				want++
			}
		}
		if bucket.GetCumulativeCount() != want {
			t.Fatalf("up to %f: %d, want %d of %v", bucket.GetUpperBound(), bucket.GetCumulativeCount(), want, durations)
		}
	}
}

func expectNative(t rapid.TB, h *dto.Histogram, durations []time.Duration) {
	t.Helper()
	want, zero := map[int]int64{}, uint64(0)
	for _, d := range durations {
		if d.Seconds() <= h.GetZeroThreshold() {
			zero++
			continue
		}
		// The bucket number i reaches from base^(i-1), without it, to base^i, where base
		// is 2^(2^-schema).
		i := math.Ceil(math.Log2(d.Seconds()) * math.Exp2(float64(h.GetSchema())))
		want[int(i)]++
	}
	got, number, count, place := map[int]int64{}, 0, int64(0), 0
	for _, span := range h.GetPositiveSpan() {
		number += int(span.GetOffset())
		for range span.GetLength() {
			count += h.GetPositiveDelta()[place]
			got[number] = count
			number++
			place++
		}
	}
	if place != len(h.GetPositiveDelta()) || h.GetZeroCount() != zero {
		t.Fatalf("%d of %d deltas, zero %d, want %d", place, len(h.GetPositiveDelta()), h.GetZeroCount(), zero)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("native buckets %v, want %v of %v", got, want, durations)
	}
}

// What takes longer than the last bucket is still counted.
func TestDurations_long(t *testing.T) {
	h := observed(t, []time.Duration{time.Hour, 24 * time.Hour})
	if n := len(h.GetPositiveDelta()); n != 1 || h.GetPositiveDelta()[0] != 2 || h.GetSampleCount() != 2 {
		t.Errorf("%v", h)
	}
}
