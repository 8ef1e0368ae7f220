package metrics

import (
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// A histogram of durations is both of Prometheus's kinds at once: the classic one
// with a few buckets, and the native one with eight in each doubling of time
// (https://prometheus.io/docs/specs/native_histograms/). An observation is one
// count, in a cell that lies within one bucket of each.

// classicEnds are the upper ends of the classic buckets.
var classicEnds = []time.Duration{
	50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, time.Second, 5 * time.Second,
}

// The native buckets: number i ends at 2^(i/8) seconds. What is not above the
// first one's beginning, a microsecond, is as good as zero; what is above the
// last one's end, 17 minutes, counts there.
const (
	nativeSchema = 3
	firstNative  = -20<<nativeSchema + 1
	lastNative   = 10 << nativeSchema
	nativeZero   = 1.0 / (1 << 20) // seconds
)

// A cell is the durations up to its end, from the end of the one before.
type cell struct {
	end    time.Duration
	native int // the number of its bucket; below firstNative: zero
}

var (
	cells    = makeCells()
	cellEnds = ends(cells)
)

func makeCells() (all []cell) {
	for native := firstNative - 1; native <= lastNative; native++ {
		end := time.Duration(math.Exp2(float64(native)/(1<<nativeSchema)) * float64(time.Second))
		for _, classic := range classicEnds {
			if len(all) > 0 && all[len(all)-1].end < classic && classic < end {
				all = append(all, cell{classic, native})
			}
		}
		all = append(all, cell{end, native})
	}
	return all
}

func ends(cells []cell) (ends []time.Duration) {
	for _, c := range cells {
		ends = append(ends, c.end)
	}
	return ends
}

// durations are those of a route template's requests.
type durations struct {
	template string
	stripes  [Stripes]struct {
		cells []atomic.Uint64
		sum   atomic.Int64 // nanoseconds
		_     [64]byte
	}
}

func newDurations(template string) *durations {
	d := &durations{template: template}
	for i := range d.stripes {
		d.stripes[i].cells = make([]atomic.Uint64, len(cells))
	}
	return d
}

func (d *durations) observe(stripe int, took time.Duration) {
	s := &d.stripes[stripe]
	i, _ := slices.BinarySearch(cellEnds, took)
	s.cells[min(i, len(s.cells)-1)].Add(1)
	s.sum.Add(int64(took))
}

// histogram is the durations as they are now, as a prometheus.Metric.
type histogram struct {
	desc   *prometheus.Desc
	labels []*dto.LabelPair
	cells  []uint64
	sum    time.Duration
}

func (d *durations) histogram(desc *prometheus.Desc) *histogram {
	h := &histogram{desc: desc, labels: prometheus.MakeLabelPairs(desc, []string{d.template}), cells: make([]uint64, len(cells))}
	for i := range d.stripes {
		s := &d.stripes[i]
		for c := range h.cells {
			h.cells[c] += s.cells[c].Load()
		}
		h.sum += time.Duration(s.sum.Load())
	}
	return h
}

// Desc implements prometheus.Metric.
func (h *histogram) Desc() *prometheus.Desc { return h.desc }

// Write implements prometheus.Metric.
func (h *histogram) Write(out *dto.Metric) error {
	out.Label = h.labels
	out.Histogram = &dto.Histogram{
		SampleSum:     new(h.sum.Seconds()),
		Schema:        new(int32(nativeSchema)),
		ZeroThreshold: new(nativeZero),
	}
	h.writeClassic(out.Histogram)
	h.writeNative(out.Histogram)
	return nil
}

func (h *histogram) writeClassic(out *dto.Histogram) {
	n, next := uint64(0), 0
	for i, c := range cells {
		n += h.cells[i]
		if next < len(classicEnds) && c.end == classicEnds[next] {
			out.Bucket = append(out.Bucket, &dto.Bucket{UpperBound: new(c.end.Seconds()), CumulativeCount: new(n)})
			next++
		}
	}
	out.SampleCount = new(n)
}

// writeNative writes the buckets with anything in them: their numbers as spans,
// each by its distance from the one before and its length, and their counts by the
// difference to the one before.
func (h *histogram) writeNative(out *dto.Histogram) {
	var (
		counts [lastNative - firstNative + 2]int64 // zero first
		before int64
		end    = 0 // the number after the last span
	)
	for i, c := range cells {
		counts[c.native-firstNative+1] += int64(h.cells[i]) //nolint:gosec // a count
	}
	out.ZeroCount = new(uint64(counts[0])) //nolint:gosec // a count
	for i, n := range counts[1:] {
		if n == 0 {
			continue
		}
		number := firstNative + i
		if len(out.PositiveSpan) == 0 || number > end {
			out.PositiveSpan = append(out.PositiveSpan, &dto.BucketSpan{Offset: new(int32(number - end)), Length: new(uint32(0))})
		}
		span := out.PositiveSpan[len(out.PositiveSpan)-1]
		*span.Length++
		out.PositiveDelta = append(out.PositiveDelta, n-before)
		before, end = n, number+1
	}
}
